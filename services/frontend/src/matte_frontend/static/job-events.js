// The events of one job until it ends, across dropped connections, restarts and silence.

import * as api from "./api.js";

const TYPES = ["queued", "position", "started", "progress", "preview", "retrying", "finished"];
const TERMINAL_STATES = new Set(["succeeded", "failed", "dead", "canceled", "expired"]);
const SILENCE_TIMEOUT_MS = 20_000; // a half-open connection stays silent: then the job itself is read
const FIRST_BACKOFF_MS = 1000;
const MAX_BACKOFF_MS = 15_000;

export class JobEvents {
  /**
   * Calls `on.event(type, data)` for each event, `on.view(view)` whenever the job itself is read, `on.offline(bool)`
   * when the connection drops and returns, and `on.lost(problem)` when the job can no longer be followed.
   */
  constructor(id, on) {
    Object.assign(this, { id, on, closed: false, backoff: FIRST_BACKOFF_MS, source: null });
    this.connect();
    this.readJob();
  }

  close() {
    this.closed = true;
    this.source?.close();
    clearTimeout(this.timer);
  }

  connect() {
    this.source?.close();
    const source = (this.source = new EventSource(api.eventsPath(this.id)));
    source.onopen = () => {
      this.backoff = FIRST_BACKOFF_MS;
      this.on.offline(false);
      this.restartTimeout();
    };
    // While it can, EventSource reconnects by itself and sends Last-Event-ID. After an HTTP error it gives up.
    source.onerror = () => {
      if (this.closed || source !== this.source) return;
      this.on.offline(true);
      if (source.readyState === EventSource.CLOSED) this.recoverLater();
      else this.restartTimeout();
    };
    for (const type of TYPES) {
      source.addEventListener(type, (event) => {
        if (this.closed) return;
        this.restartTimeout();
        if (type === "finished") this.close();
        this.on.event(type, JSON.parse(event.data || "{}"));
      });
    }
    this.restartTimeout();
  }

  restartTimeout() {
    clearTimeout(this.timer);
    if (!this.closed) this.timer = setTimeout(() => this.recover(), SILENCE_TIMEOUT_MS);
  }

  recoverLater() {
    clearTimeout(this.timer);
    if (!this.closed) this.timer = setTimeout(() => this.recover(), this.backoff);
    this.backoff = Math.min(this.backoff * 2, MAX_BACKOFF_MS);
  }

  async recover() {
    if (!(await this.readJob())) return;
    if (this.source.readyState === EventSource.OPEN) this.restartTimeout();
    else this.connect();
  }

  /** Reads the job once. Resolves to true if it has not ended. */
  async readJob() {
    try {
      const view = await api.job(this.id);
      if (this.closed) return false;
      if (TERMINAL_STATES.has(view.state)) this.close();
      this.on.view(view);
      return !this.closed;
    } catch (problem) {
      if (this.closed) return false;
      if (problem.retryable) {
        this.on.offline(true);
        this.recoverLater();
      } else {
        this.close();
        this.on.lost(problem);
      }
      return false;
    }
  }
}
