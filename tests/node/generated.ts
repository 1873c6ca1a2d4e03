// A client made of the types that openapi-typescript wrote from /openapi.json; prints what it saw as one JSON line.
import { readFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const [url, picture] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url });
const image = new Blob([await readFile(picture)], { type: "image/jpeg" });

const asForm = (body: object) => {
  const form = new FormData();
  for (const [name, value] of Object.entries(body)) form.append(name, value instanceof Blob ? value : String(value));
  return form;
};

const raw = await client.POST("/predict", {
  params: { query: { output: "mask" } },
  body: image,
  bodySerializer: (body: unknown) => body as Blob,
  headers: { "Content-Type": "application/octet-stream" },
  parseAs: "blob",
});
const form = await client.POST("/predict", { body: { image, format: "webp" }, bodySerializer: asForm, parseAs: "blob" });
const job = await client.POST("/v1/jobs", { body: { image, output: "both", model: "slow" }, bodySerializer: asForm });
const path = { id: job.data!.id };
await client.GET("/v1/jobs/{id}/events", { params: { path }, parseAs: "text" }); // ends when the job does
const ended = await client.GET("/v1/jobs/{id}", { params: { path } });
const mask = await client.GET("/v1/jobs/{id}/result", { params: { path, query: { file: "mask" } }, parseAs: "blob" });
const wrong = await client.POST("/predict", {
  params: { query: { model: "none" } },
  body: image,
  bodySerializer: (body: unknown) => body as Blob,
  headers: { "Content-Type": "application/octet-stream" },
});

const kind = (answer: { response: Response }) => answer.response.headers.get("content-type");
console.log(
  JSON.stringify({
    raw: kind(raw),
    form: kind(form),
    job: ended.data!.state,
    mask: kind(mask),
    problem: wrong.error!.code,
  }),
);
