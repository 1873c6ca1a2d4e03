// The stock JavaScript client against the address in argv: prints what it saw as one JSON line.
import { readFile } from "node:fs/promises";
import { Client, handle_file } from "@gradio/client";

const [url, picture] = process.argv.slice(2);
const seen = { errors: [], stages: [], positions: [] };
const client = await Client.connect(url);
const image = new Blob([await readFile(picture)], { type: "image/jpeg" });

async function bytes(file) {
  const answer = await fetch(file.url);
  return { status: answer.status, type: answer.headers.get("content-type"), size: (await answer.arrayBuffer()).byteLength };
}

const cut = await client.predict("/remove_background", { image: handle_file(image), format: "webp" });
seen.cut = await bytes(cut.data[0]);
seen.meta = cut.data[0].meta;
seen.again = await bytes((await client.predict("/segment", { image: handle_file(cut.data[0].url) })).data[0]);

const job = client.submit("/remove_background", { image: handle_file(image), model: "slow" }, undefined, undefined, true);
seen.data = [];
for await (const message of job) {
  if (message.type === "data") seen.data.push(await bytes(message.data[0]));
  if (message.type === "status") {
    seen.stages.push(message.stage);
    if (message.position !== undefined) seen.positions.push(message.position);
  }
}

for (const wrong of [{ model: "none" }, { model: "broken" }, { bg_color: "nope-ish" }]) {
  try {
    await client.predict("/remove_background", { image: handle_file(image), ...wrong });
  } catch (error) {
    seen.errors.push(error.message);
  }
}

const waiting = client.submit("/remove_background", { image: handle_file(image), model: "asleep" }, undefined, undefined, true);
for await (const message of waiting) {
  if (message.type !== "status") continue;
  if (message.position !== undefined && !seen.canceled) {
    seen.canceled = "asked";
    await waiting.cancel();
  }
  if (message.stage === "error") seen.canceled = message.message;
}
console.log(JSON.stringify(seen));
process.exit(0);
