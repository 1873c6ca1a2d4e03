// Writes types from the document in argv, checks generated.ts against them, and runs it with what follows in argv.
import { spawnSync } from "node:child_process";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import openapiTS, { astToString } from "openapi-typescript";
import ts from "typescript";

const [document, ...rest] = process.argv.slice(2);
const folder = await mkdtemp("generated-"); // beside node_modules, where imports are looked for
try {
  const blob = ts.factory.createTypeReferenceNode("Blob");
  const transform = (schema) => (schema.format === "binary" ? blob : undefined);
  const types = await openapiTS(JSON.parse(await readFile(document, "utf8")), { transform });
  await writeFile(`${folder}/schema.ts`, astToString(types));
  await copyFile("generated.ts", `${folder}/generated.ts`);
  const options = ["--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext", "--types", "node"];
  const steps = [["node_modules/typescript/bin/tsc", ...options, `${folder}/generated.ts`], [`${folder}/generated.js`, ...rest]];
  for (const step of steps) {
    const { status } = spawnSync(process.execPath, step, { stdio: "inherit" });
    if (status !== 0) process.exitCode = 1;
    if (status !== 0) break;
  }
} finally {
  await rm(folder, { recursive: true });
}
