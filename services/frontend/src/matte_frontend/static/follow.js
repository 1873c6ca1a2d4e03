// Follows one job's events to the end, over dropped connections, restarts and silence.

import * as api from "./api.js";

const TYPES = ["queued", "position", "started", "progress", "preview", "retrying", "finished"];
const QUIET_MS = 20_000; // a half-open connection says nothing: then the job itself is asked
const LONGEST_PAUSE_MS = 15_000;

/** Terminal states of a job. */
export const ENDED = new Set(["succeeded", "failed", "dead", "canceled", "expired"]);

/**
 * `on.event(type, data)` for each event, `on.view(view)` for each look at the job, `on.offline(bool)` when the
 * connection drops and comes back, `on.gone(problem)` when the job cannot be followed any more.
 */
export class Follower {
  constructor(id, on) {
    Object.assign(this, { id, on, closed: false, pause: 1000, source: null });
    this.open();
    this.look();
  }

  close() {
    this.closed = true;
    this.source?.close();
    clearTimeout(this.timer);
  }

  open() {
    this.source?.close();
    const source = (this.source = new EventSource(api.eventsPath(this.id)));
    for (const type of TYPES) source.addEventListener(type, (e) => this.heard(type, e));
    source.onopen = () => this.online();
    source.onerror = () => source === this.source && this.dropped();
    this.watch();
  }

  online() {
    this.pause = 1000;
    this.on.offline(false);
    this.watch();
  }

  heard(type, event) {
    if (this.closed) return;
    this.watch();
    if (type === "finished") this.close();
    this.on.event(type, JSON.parse(event.data || "{}"));
  }

  // While it can, EventSource reconnects by itself and sends Last-Event-ID. After an HTTP error it gives up.
  dropped() {
    if (this.closed) return;
    this.on.offline(true);
    if (this.source.readyState === EventSource.CLOSED) this.later(() => this.recover());
    else this.watch();
  }

  watch() {
    clearTimeout(this.timer);
    if (!this.closed) this.timer = setTimeout(() => this.recover(), QUIET_MS);
  }

  later(step) {
    clearTimeout(this.timer);
    if (!this.closed) this.timer = setTimeout(step, this.pause);
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
  }

  /** Asks the job itself, then listens again if nothing listens. */
  async recover() {
    if (!(await this.look())) return;
    if (this.source.readyState === EventSource.OPEN) this.watch();
    else this.open();
  }

  /** One look at the job; true if it still runs. */
  async look() {
    try {
      const view = await api.job(this.id);
      if (this.closed) return false;
      if (ENDED.has(view.state)) this.close();
      this.on.view(view);
      return !this.closed;
    } catch (problem) {
      if (!this.closed) this.failed(problem);
      return false;
    }
  }

  failed(problem) {
    if (!problem.passing) {
      this.close();
      return this.on.gone(problem);
    }
    this.on.offline(true);
    this.later(() => this.recover());
  }
}
