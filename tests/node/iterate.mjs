// A call of the stock JavaScript client against the address in argv, iterated: prints what came as one JSON line.
import { readFile } from "node:fs/promises";
import { Client, handle_file } from "@gradio/client";

const [url, picture] = process.argv.slice(2);
const client = await Client.connect(url);
const image = new Blob([await readFile(picture)], { type: "image/jpeg" });
const seen = { data: [], stages: [] };
for await (const message of client.submit("/remove_background", { image: handle_file(image), model: "slow" }, undefined, undefined, true)) {
  if (message.type === "data") seen.data.push(message.data[0].path); // at once: later values change it in place
  if (message.type === "status" && ["generating", "complete", "error"].includes(message.stage)) seen.stages.push(message.stage);
}
console.log(JSON.stringify(seen));
process.exit(0);
