// The frontend's HTTP API. Addresses are relative, so the page also works below a path prefix.

/** A problem document (RFC 9457) as an error. `status` is 0 if no response arrived. */
export class Problem extends Error {
  constructor(document) {
    super(document.title);
    Object.assign(this, { status: 500, code: "internal_error", detail: "" }, document);
  }

  static unreachable() {
    const detail = "No answer came: the network or the service is down.";
    return new Problem({ code: "unreachable", status: 0, title: "The service cannot be reached", detail });
  }

  /** From a response, whether the frontend wrote it or a proxy in front of it. */
  static from(status, text) {
    try {
      const document = JSON.parse(text);
      if (document?.title) return new Problem({ status, ...document });
    } catch { /* a proxy's error page */ }
    const title = status === 413 ? "The picture has too many bytes" : "The service did not answer as expected";
    const code = status === 413 ? "payload_too_large" : `http_${status}`;
    return new Problem({ code, status, title, detail: `The answer was HTTP ${status}.` });
  }

  get retryable() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** What `read` makes of the response. Throws a Problem. */
async function get(path, accept, read) {
  try {
    const response = await fetch(path, { headers: { Accept: accept }, cache: "no-store" });
    if (!response.ok) throw Problem.from(response.status, await response.text().catch(() => ""));
    return await read(response);
  } catch (error) {
    throw error instanceof Problem ? error : Problem.unreachable();
  }
}

const getJson = (path) => get(path, "application/json", (response) => response.json());

export const catalog = () => getJson("models");
export const limits = () => getJson("v1/limits");
export const job = (id) => getJson(`v1/jobs/${id}`);
export const eventsPath = (id) => `v1/jobs/${id}/events`;
export const result = (id) => get(`v1/jobs/${id}/result`, "image/*", (response) => response.blob());

/** Asks to cancel a job. Its events tell whether that worked. */
export const cancel = (id) => fetch(`v1/jobs/${id}`, { method: "DELETE" }).catch(() => undefined);

/**
 * Submits a picture with XMLHttpRequest, because fetch does not report upload progress: `onProgress` gets 0…1.
 * Resolves to the JobView. Rejects with a Problem, or with an AbortError when `signal` aborts.
 */
export function submit(file, params, idempotencyKey, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `v1/jobs?${new URLSearchParams(params)}`);
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Prefer", "preview");
    request.setRequestHeader("Idempotency-Key", idempotencyKey);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onerror = () => reject(Problem.unreachable());
    request.onabort = () => reject(new DOMException("canceled", "AbortError"));
    request.onload = () => {
      const { status, responseText } = request;
      try {
        if (status >= 200 && status < 300) return resolve(JSON.parse(responseText));
      } catch { /* not JSON */ }
      reject(Problem.from(status, responseText));
    };
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(file);
  });
}

/** (crypto.randomUUID is missing on hosts without TLS.) */
export function newIdempotencyKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
