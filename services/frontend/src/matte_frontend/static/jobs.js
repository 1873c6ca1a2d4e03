// The page's jobs: sent two at a time, followed to the end, kept over a reload.

import * as api from "./api.js";
import { Follower } from "./follow.js";
import * as pictures from "./pictures.js";

// Browsers open six HTTP/1.1 connections to a host over all tabs, and every followed job holds one.
const AT_ONCE = 2;
const KEPT = "matte.jobs";
const RESULT_TRIES = 6;

const pauseOf = (attempt) => new Promise((resolve) => setTimeout(resolve, Math.min(500 * 2 ** attempt, 8000)));
const localProblem = (code, title, detail) => new api.Problem({ code, status: 410, title, detail });

/** What a job says when it ended without a result and without a problem of its own. */
const ENDINGS = {
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
    const fresh = files.map((file) => ({ ...blank(), file, name: file.name || "picture.png", params }));
    for (const job of fresh) job.before = URL.createObjectURL(job.file);
    this.list.push(...fresh);
    if (fresh.length) this.select(fresh[0]);
    this.#listed();
    this.#pump();
  }

  select(job) {
    this.selected = job;
    this.dispatchEvent(new Event("list"));
  }

  /** Sends a job's picture again, with new settings if given. */
  again(job, params = job.params) {
    const key = job.problem?.code === "unreachable" && params === job.params ? job.key : api.newKey();
    release(job.result);
    Object.assign(job, blank(), { file: job.file, before: job.before, thumb: job.thumb, name: job.name, params, key });
    this.#changed(job);
    this.#pump();
  }

  cancel(job) {
    job.abort?.abort();
    if (job.id) api.cancel(job.id);
    this.#fail(job, ENDINGS.canceled);
  }

  /** Forgets the jobs that ended. */
  clear() {
    for (const job of this.list.filter(ended)) {
      release(job.result);
      if (job.file) URL.revokeObjectURL(job.before);
    }
    this.list = this.list.filter((job) => !ended(job));
    if (!this.list.includes(this.selected)) this.selected = this.list.at(-1) ?? null;
    this.#listed();
  }

  /** Picks up the jobs of before a reload. */
  restore() {
    let kept = [];
    try {
      kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
    } catch { /* storage is switched off, or not ours */ }
    this.list = kept.map((entry) => ({ ...blank(), ...entry, before: entry.thumb }));
    this.selected = this.list.at(-1) ?? null;
    this.dispatchEvent(new Event("list"));
    this.#pump();
  }

  #pump() {
    for (const job of this.list) {
      if (this.#active.size >= AT_ONCE) return;
      if (job.state !== "waiting" || this.#active.has(job)) continue;
      this.#active.add(job);
      this.#run(job).catch((problem) => this.#fail(job, problem)).finally(() => {
        this.#active.delete(job);
        this.#pump();
      });
    }
  }

  async #run(job) {
    job.abort = new AbortController();
    if (!job.id) {
      if (!(await this.#upload(job))) return;
    }
    const problem = await this.#follow(job);
    if (problem) this.#fail(job, problem);
    else if (!ended(job)) await this.#collect(job);
  }

  /** Checks and sends; false when the job was canceled on the way. */
  async #upload(job) {
    const refused = pictures.refusal(job.file, this.limits);
    if (refused) throw refused;
    const size = await pictures.measure(job.before);
    const tooBig = size && pictures.sizeRefusal(size, this.limits);
    if (tooBig) throw tooBig;
    if (job.abort.signal.aborted) return false;
    this.#set(job, { state: "uploading", size, sent: 0 });
    if (size) pictures.thumbnail(job.before).then((thumb) => this.#keepThumb(job, thumb));
    const onProgress = (sent) => this.#set(job, { sent });
    try {
      const view = await api.submit(job.file, job.params, job.key, { onProgress, signal: job.abort.signal });
      this.#set(job, { id: view.id, sent: 1, state: "queued" });
      this.#look(job, view);
    } catch (error) {
      if (error.name === "AbortError") return false;
      throw error;
    }
    this.#keep();
    return true;
  }

  /** Resolves to null when the job succeeded, else to its problem. */
  #follow(job) {
    return new Promise((resolve) => {
      const follower = new Follower(job.id, {
        event: (type, data) => (type === "finished" ? resolve(this.#end(job, data)) : this.#event(job, type, data)),
        view: (view) => (this.#look(job, view) ? resolve(this.#end(job, view)) : undefined),
        offline: (offline) => job.offline !== offline && this.#set(job, { offline }),
        gone: (problem) => resolve(problem),
      });
      job.abort.signal.addEventListener("abort", () => (follower.close(), resolve(null)), { once: true });
    });
  }

  #event(job, type, data) {
    const next = { offline: false };
    if (type === "queued" || type === "position") Object.assign(next, { state: "queued" }, placeOf(data));
    if (type === "retrying") Object.assign(next, { state: "queued", retrying: true });
    if (type === "started") Object.assign(next, { state: "running", eta: etaOf(data) ?? job.eta });
    if (type === "progress") Object.assign(next, { state: "running", ...progressOf(data) });
    if (type === "preview" && data.b64) next.preview = `data:${data.content_type ?? "image/webp"};base64,${data.b64}`;
    this.#set(job, next);
  }

  /** Takes over what a look at the job says; true if it has ended. */
  #look(job, view) {
    const running = view.state === "running";
    const next = { offline: false, model: view.model, version: view.version ?? job.version };
    if (running || view.state === "queued") Object.assign(next, { state: view.state }, placeOf(view));
    this.#set(job, next);
    return !running && view.state !== "queued";
  }

  #end(job, { state, result, error }) {
    this.#set(job, { offline: false });
    if (state === "succeeded") return void (job.facts = result ?? null) ?? null;
    return error ? new api.Problem(error) : ENDINGS[state] ?? localProblem("internal_error", "The job failed", "");
  }

  async #collect(job) {
    this.#set(job, { state: "fetching" });
    for (let attempt = 0; ; attempt++) {
      try {
        const blob = await api.result(job.id);
        this.#set(job, { state: "done", offline: false, result: { blob, url: URL.createObjectURL(blob) } });
        return this.#keep();
      } catch (problem) {
        if (!problem.passing || attempt + 1 >= RESULT_TRIES) throw problem;
        this.#set(job, { offline: true });
        await pauseOf(attempt);
      }
    }
  }

  #fail(job, problem) {
    if (ended(job)) return;
    if (!(problem instanceof api.Problem)) console.error(problem);
    const known = problem instanceof api.Problem ? problem : localProblem("page_error", "The page failed", String(problem));
    this.#set(job, { state: "failed", problem: known, offline: false });
    this.#keep();
  }

  #set(job, next) {
    if (ended(job)) return;
    if ("eta" in next) next.etaAt = performance.now();
    Object.assign(job, next);
    this.#changed(job);
  }

  #keepThumb(job, thumb) {
    job.thumb = thumb;
    this.#changed(job);
    this.#keep();
  }

  #changed(job) {
    this.dispatchEvent(new CustomEvent("change", { detail: job }));
  }

  #listed() {
    this.#keep();
    this.dispatchEvent(new Event("list"));
  }

  /** Newest first into the storage, as many as fit. */
  #keep() {
    const live = this.list.filter((job) => job.id && job.state !== "failed").slice(-12);
    for (let from = 0; from <= live.length; from++) {
      const kept = live.slice(from).map(({ id, name, params, thumb, size }) => ({ id, name, params, thumb, size }));
      try {
        return sessionStorage.setItem(KEPT, JSON.stringify(kept));
      } catch { /* full: drop the oldest */ }
    }
  }
}

/** Whether nothing more will happen to a job. */
export const ended = (job) => job.state === "done" || job.state === "failed";

function blank() {
  return {
    id: null, key: api.newKey(), state: "waiting", sent: 0, ahead: null, eta: null, etaAt: 0, stage: null, share: null,
    preview: "", thumb: "", before: "", offline: false, retrying: false, file: null, result: null, facts: null,
    problem: null, size: null, abort: null, model: null, version: null,
  };
}

const numberOr = (value, other) => (typeof value === "number" ? value : other);
const etaOf = (data) => numberOr(data.eta_seconds, null);

function placeOf(data) {
  const eta = etaOf(data);
  return { ahead: numberOr(data.position, null), ...(eta === null ? {} : { eta }) };
}

function progressOf({ stage, progress, fraction }) {
  return { stage: stage ?? null, share: numberOr(progress, numberOr(fraction, null)) };
}

function release(result) {
  if (result) URL.revokeObjectURL(result.url);
}
