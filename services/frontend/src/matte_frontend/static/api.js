// The frontend's HTTP API. Addresses are relative, so the page also works below a path.

/** A problem document (RFC 9457) that can be thrown; `status` 0 means that no answer came. */
export class Problem extends Error {
  constructor(document) {
    super(document.title);
    Object.assign(this, { status: 500, code: "internal_error", detail: "" }, document);
  }

  static unreachable() {
    const detail = "No answer came: the network or the service is down.";
    return new Problem({ code: "unreachable", status: 0, title: "The service cannot be reached", detail });
  }

  /** From an answer's status and text, whatever wrote it: the frontend, or a proxy in front of it. */
  static from(status, text) {
    try {
      const document = JSON.parse(text);
      if (document?.title) return new Problem({ status, ...document });
    } catch { /* not JSON: a proxy's page */ }
    const title = status === 413 ? "The picture has too many bytes" : "The service did not answer as expected";
    const code = status === 413 ? "payload_too_large" : `http_${status}`;
    return new Problem({ code, status, title, detail: `The answer was HTTP ${status}.` });
  }

  /** In one line: the detail is a whole sentence. */
  get text() {
    return this.detail || this.title;
  }

  /** Whether asking again may help: no answer, or a fault on the other side. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

async function get(path, accept) {
  const answer = await fetch(path, { headers: { Accept: accept }, cache: "no-store" }).catch(() => null);
  if (!answer) throw Problem.unreachable();
  if (!answer.ok) throw Problem.from(answer.status, await answer.text().catch(() => ""));
  return answer;
}

async function json(path) {
  try {
    return await (await get(path, "application/json")).json();
  } catch (error) {
    throw error instanceof Problem ? error : Problem.unreachable();
  }
}

export const catalog = () => json("models");
export const limits = () => json("v1/limits");
export const job = (id) => json(`v1/jobs/${id}`);
export const eventsPath = (id) => `v1/jobs/${id}/events`;

/** The result's bytes. Throws a Problem. */
export async function result(id) {
  const answer = await get(`v1/jobs/${id}/result`, "image/*");
  try {
    return await answer.blob();
  } catch {
    throw Problem.unreachable();
  }
}

/** Asks for the end of a job; whether it worked shows in its events. */
export const cancel = (id) => fetch(`v1/jobs/${id}`, { method: "DELETE" }).catch(() => undefined);

/**
 * Sends a picture. XHR, because fetch cannot tell how much has been sent.
 * `onProgress(share)` hears 0…1. Resolves to the JobView; rejects with a Problem, or an AbortError on `signal`.
 */
export function submit(file, params, key, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `v1/jobs?${new URLSearchParams(params)}`);
    request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Prefer", "preview");
    request.setRequestHeader("Idempotency-Key", key);
    request.upload.onprogress = (e) => e.lengthComputable && onProgress(e.loaded / e.total);
    request.onerror = () => reject(Problem.unreachable());
    request.onabort = () => reject(new DOMException("canceled", "AbortError"));
    request.onload = () => settle(request, resolve, reject);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(file);
  });
}

function settle(request, resolve, reject) {
  if (request.status < 200 || request.status > 299) return reject(Problem.from(request.status, request.responseText));
  try {
    resolve(JSON.parse(request.responseText));
  } catch {
    reject(Problem.from(request.status, ""));
  }
}

/** A key that makes sending twice harmless. (randomUUID is missing on plain-http hosts.) */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}
