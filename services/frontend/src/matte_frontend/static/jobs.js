// The page's jobs: submitted two at a time, followed until they end, and restored after a reload.

import * as api from "./api.js";
import { JobEvents } from "./job-events.js";
import * as pictures from "./pictures.js";

// Browsers open six HTTP/1.1 connections to a host over all tabs, and every followed job holds one.
const MAX_ACTIVE = 2;
const MAX_SAVED = 12;
const STORAGE_KEY = "matte.jobs";
const RESULT_ATTEMPTS = 6;

const localProblem = (code, title, detail) => new api.Problem({ code, status: 410, title, detail });

/** Problems of terminal states that come without one. */
const STATE_PROBLEMS = {
  canceled: localProblem("job_canceled", "Canceled", "This picture was not cut out."),
  expired: localProblem("job_expired", "The job waited too long", "No model took it in time."),
};

/**
 * Fires "change" (detail: the job) and "list". A job's `state` is one of
 * waiting, uploading, queued, running, fetching, done, failed.
 */
export class Jobs extends EventTarget {
  list = [];
  selected = null;
  limits = null;
  #active = new Set();

  add(files, params) {
    const added = files.map((file) => ({
      ...newJob(), file, name: file.name || "picture.png", params, originalUrl: URL.createObjectURL(file),
    }));
    this.list.push(...added);
    if (added.length) this.selected = added[0];
    this.#listChanged();
    this.#startWaiting();
  }

  select(job) {
    this.selected = job;
    this.dispatchEvent(new Event("list"));
  }

  /** Submits a job's picture again, with the same idempotency key if the service may have got the same request. */
  resubmit(job, params) {
    const { file, originalUrl, thumbnail, name, key, problem, result } = job;
    const repeated = problem?.code === "unreachable" && sameParams(params, job.params);
    if (result) URL.revokeObjectURL(result.url);
    Object.assign(job, newJob(), { file, originalUrl, thumbnail, name, params, ...(repeated && { key }) });
    this.#changed(job);
    this.#startWaiting();
  }

  cancel(job) {
    job.abort?.abort();
    if (job.id) api.cancel(job.id);
    this.#fail(job, STATE_PROBLEMS.canceled);
  }

  clearFinished() {
    for (const job of this.list.filter(isFinished)) {
      if (job.result) URL.revokeObjectURL(job.result.url);
      if (job.file) URL.revokeObjectURL(job.originalUrl);
    }
    this.list = this.list.filter((job) => !isFinished(job));
    if (!this.list.includes(this.selected)) this.selected = this.list.at(-1) ?? null;
    this.#listChanged();
  }

  /** Resumes the jobs saved before a reload. */
  restore() {
    let saved = [];
    try {
      saved = JSON.parse(sessionStorage.getItem(STORAGE_KEY) ?? "[]");
    } catch { /* storage is disabled, or holds something else */ }
    this.list = saved.map((entry) => ({ ...newJob(), ...entry, originalUrl: entry.thumbnail }));
    this.select(this.list.at(-1) ?? null);
    this.#startWaiting();
  }

  #startWaiting() {
    for (const job of this.list) {
      if (this.#active.size >= MAX_ACTIVE) return;
      if (job.state !== "waiting" || this.#active.has(job)) continue;
      this.#active.add(job);
      this.#run(job).catch((problem) => this.#fail(job, problem)).finally(() => {
        this.#active.delete(job);
        this.#startWaiting();
      });
    }
  }

  async #run(job) {
    job.abort = new AbortController();
    if (!job.id && !(await this.#upload(job))) return;
    const problem = await this.#follow(job);
    if (problem) this.#fail(job, problem);
    else if (!isFinished(job)) await this.#fetchResult(job);
  }

  /** Checks and submits the picture. Resolves to false if the job is canceled meanwhile. */
  async #upload(job) {
    const size = await pictures.check(job.file, job.originalUrl, this.limits);
    if (job.abort.signal.aborted) return false;
    this.#set(job, { state: "uploading", size, sent: 0 });
    if (size) {
      pictures.thumbnail(job.originalUrl).then((thumbnail) => {
        job.thumbnail = thumbnail;
        this.#changed(job);
        this.#save();
      });
    }
    const onProgress = (sent) => this.#set(job, { sent });
    try {
      const view = await api.submit(job.file, job.params, job.key, { onProgress, signal: job.abort.signal });
      this.#set(job, { id: view.id, sent: 1, state: "queued" });
      this.#applyView(job, view);
    } catch (error) {
      if (error.name === "AbortError") return false;
      throw error;
    }
    this.#save();
    return true;
  }

  /** Resolves to null when the job succeeded or was aborted, else to its problem. */
  #follow(job) {
    return new Promise((resolve) => {
      const finish = ({ state, result, error }) => {
        this.#set(job, { offline: false });
        if (state === "succeeded") job.metadata = result ?? null;
        const problem = error ? new api.Problem(error) : STATE_PROBLEMS[state];
        resolve(state === "succeeded" ? null : problem ?? localProblem("internal_error", "The job failed", ""));
      };
      const events = new JobEvents(job.id, {
        event: (type, data) => (type === "finished" ? finish(data) : this.#applyEvent(job, type, data)),
        view: (view) => this.#applyView(job, view) && finish(view),
        offline: (offline) => job.offline !== offline && this.#set(job, { offline }),
        lost: resolve,
      });
      job.abort.signal.addEventListener("abort", () => (events.close(), resolve(null)), { once: true });
    });
  }

  #applyEvent(job, type, data) {
    const next = { offline: false };
    if (type === "queued" || type === "position") Object.assign(next, { state: "queued" }, position(data));
    if (type === "retrying") Object.assign(next, { state: "queued", retrying: true });
    if (type === "started") Object.assign(next, { state: "running", eta: data.eta_seconds ?? job.eta });
    if (type === "progress") {
      Object.assign(next, { state: "running", stage: data.stage ?? null, fraction: data.fraction ?? null });
    }
    if (type === "preview" && data.b64) next.preview = `data:${data.content_type ?? "image/webp"};base64,${data.b64}`;
    this.#set(job, next);
  }

  /** Applies a JobView. Returns whether the job has ended. */
  #applyView(job, view) {
    const live = view.state === "running" || view.state === "queued";
    this.#set(job, { offline: false, ...(live && { state: view.state, ...position(view) }) });
    return !live;
  }

  async #fetchResult(job) {
    this.#set(job, { state: "fetching" });
    for (let attempt = 1; ; attempt++) {
      try {
        const blob = await api.result(job.id);
        this.#set(job, { state: "done", offline: false, result: { blob, url: URL.createObjectURL(blob) } });
        return this.#save();
      } catch (problem) {
        if (!problem.retryable || attempt === RESULT_ATTEMPTS) throw problem;
        this.#set(job, { offline: true });
        await new Promise((resolve) => setTimeout(resolve, Math.min(250 * 2 ** attempt, 8000)));
      }
    }
  }

  #fail(job, error) {
    if (isFinished(job)) return;
    const known = error instanceof api.Problem;
    if (!known) console.error(error);
    const problem = known ? error : localProblem("page_error", "The page failed", String(error));
    this.#set(job, { state: "failed", problem, offline: false });
    this.#save();
  }

  #set(job, next) {
    if (isFinished(job)) return;
    if ("eta" in next) next.etaAt = performance.now();
    Object.assign(job, next);
    this.#changed(job);
  }

  #changed(job) {
    this.dispatchEvent(new CustomEvent("change", { detail: job }));
  }

  #listChanged() {
    this.#save();
    this.dispatchEvent(new Event("list"));
  }

  #save() {
    const jobs = this.list.filter((job) => job.id && job.state !== "failed").slice(-MAX_SAVED);
    const saved = jobs.map(({ id, name, params, thumbnail, size }) => ({ id, name, params, thumbnail, size }));
    for (; ; saved.shift()) {
      try {
        return sessionStorage.setItem(STORAGE_KEY, JSON.stringify(saved));
      } catch {
        if (!saved.length) return; // storage is disabled; otherwise it is full: drop the oldest
      }
    }
  }
}

export const isFinished = (job) => job.state === "done" || job.state === "failed";

const sorted = (params) => JSON.stringify(Object.entries(params).sort());
export const sameParams = (a, b) => sorted(a) === sorted(b);

function newJob() {
  return {
    id: null, key: api.newIdempotencyKey(), name: "", file: null, params: null, originalUrl: "", thumbnail: "", size: null,
    state: "waiting", sent: 0, ahead: null, eta: null, etaAt: 0, stage: null, fraction: null, preview: "",
    offline: false, retrying: false, abort: null, result: null, metadata: null, problem: null,
  };
}

function position({ position, eta_seconds: eta }) {
  return { ahead: position ?? null, ...(typeof eta === "number" && { eta }) };
}
