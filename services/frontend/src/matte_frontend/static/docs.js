// Swagger UI for /openapi.json. Nothing is loaded from another host.
/* global SwaggerUIBundle */
const description = await (await fetch("openapi.json")).json();

// Swagger UI sends examples as values: a second picture would be sent with the Idempotency-Key of the first
const operations = Object.values(description.paths).flatMap((path) => Object.values(path));
const shared = Object.values(description.components.parameters);
const parameters = [...shared, ...operations.flatMap((operation) => operation.parameters ?? [])];
for (const parameter of parameters) if (!parameter.required) delete parameter.example;

const base = new URL(".", location.href).href.replace(/\/$/, ""); // also below a path prefix
SwaggerUIBundle({ spec: { ...description, servers: [{ url: base }] }, dom_id: "#docs", deepLinking: true, validatorUrl: null });
