// Swagger UI over our own description; nothing is asked of another host.
/* global SwaggerUIBundle */
const description = await (await fetch("openapi.json")).json();

// Swagger UI sends examples unless they are cleared: a second picture would have the first one's Idempotency-Key
const operations = Object.values(description.paths).flatMap((path) => Object.values(path));
const parameters = [...Object.values(description.components.parameters), ...operations.flatMap((one) => one.parameters ?? [])];
for (const parameter of parameters) if (!parameter.required) delete parameter.example;

const here = new URL(".", location.href).href.replace(/\/$/, ""); // also behind a prefix
SwaggerUIBundle({ spec: { ...description, servers: [{ url: here }] }, dom_id: "#docs", deepLinking: true, validatorUrl: null });
