// The big place in the middle: drop zone, running job, result or problem.

import { Compare } from "./compare.js";
import * as pictures from "./pictures.js";
import * as words from "./words.js";

const $ = (id) => document.getElementById(id);
const PANELS = ["drop", "working", "result", "failed"];
const STEPS = ["upload", "queue", "run"];
const STEP_OF = { waiting: "upload", uploading: "upload", queued: "queue", running: "run", fetching: "run" };

export class Stage {
  constructor(settings) {
    this.settings = settings;
    this.compare = new Compare();
    this.job = null;
    $("copy").hidden = !(navigator.clipboard?.write && window.ClipboardItem);
    $("copy").addEventListener("click", () => this.copy());
    setInterval(() => this.tick(), 1000);
  }

  /** Shows a job, or the drop zone for null. */
  show(job) {
    const panel = job ? { done: "result", failed: "failed" }[job.state] ?? "working" : "drop";
    const turned = this.job === job && this.panel !== panel;
    Object.assign(this, { job, panel });
    for (const id of PANELS) $(id).hidden = id !== panel;
    document.title = title(job);
    if (panel === "working") this.working(job);
    if (panel === "result") this.result(job);
    else this.compare.hide();
    if (panel === "failed") this.failed(job);
    if (turned && document.activeElement === document.body) this.focus(panel);
  }

  /** A hidden button took the focus with it: give it to what took its place. */
  focus(panel) {
    if (panel === "result") $("result-title").focus({ preventScroll: true });
    if (panel === "failed") $("problem-title").focus({ preventScroll: true });
  }

  working(job) {
    const image = $("waiting-picture");
    const source = job.preview || job.before || job.thumb;
    if (source && image.getAttribute("src") !== source) image.src = source;
    image.hidden = !source || (job.file !== null && job.size === null && !job.preview);
    image.classList.toggle("preview", Boolean(job.preview));
    $("working").dataset.state = job.state;
    const now = STEPS.indexOf(STEP_OF[job.state]);
    for (const item of document.querySelectorAll(".steps li")) {
      const at = STEPS.indexOf(item.dataset.step);
      item.className = at < now ? "past" : at === now ? "now" : "";
    }
    $("offline").hidden = !job.offline;
    const share = job.state === "uploading" && job.sent < 1 ? job.sent : job.state === "running" ? job.share : null;
    if (share === null) $("progress").removeAttribute("value");
    else $("progress").value = share;
    this.tick();
  }

  /** The words that change with time. */
  tick() {
    if (this.panel !== "working") return;
    const [status, detail] = describe(this.job);
    if ($("status").textContent !== status) $("status").textContent = status;
    if ($("status-detail").textContent !== detail) $("status-detail").textContent = detail;
  }

  result(job) {
    const { blob, url } = job.result;
    this.compare.show(job.before || job.thumb, url);
    $("result-title").textContent = job.params.output === "mask" ? "Mask ready" : "Cut-out ready";
    $("result-facts").textContent = factsOf(job);
    const name = words.resultName(job.name, job.params, blob.type);
    Object.assign($("download"), { href: url, download: name, title: name });
    $("again").hidden = !job.file || sameParams(job.params, this.settings.params);
  }

  failed(job) {
    const { title: text, detail, code } = job.problem;
    $("problem-title").textContent = text;
    $("problem-detail").textContent = detail;
    $("problem-advice").textContent = words.advice(job.problem);
    $("problem-code").textContent = code;
    $("retry").hidden = !job.file || words.ofPicture(code);
    $("other").classList.toggle("primary", $("retry").hidden);
  }

  async copy() {
    try {
      const png = pictures.asPng(this.job.result.blob);
      await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
      this.flash("Copied");
    } catch {
      this.flash("Copying was not allowed");
    }
  }

  flash(text) {
    $("copy").textContent = text;
    $("say").textContent = text;
    setTimeout(() => ($("copy").textContent = "Copy"), 2000);
  }
}

/** A running job in words: what happens, and how long it takes. */
export function describe(job) {
  const left = job.eta === null ? null : Math.max(0, job.eta - (performance.now() - job.etaAt) / 1000);
  switch (job.state) {
    case "waiting": return job.id ? ["Looking for your job", ""] : ["Waiting for the pictures before it", ""];
    case "uploading":
      if (job.sent >= 1) return ["Checking the picture", ""];
      return ["Uploading", `${Math.round(job.sent * 100)} % of ${words.bytes(job.file.size)}`];
    case "queued": {
      const again = job.retrying ? "Trying once more: " : "";
      const place = job.ahead === null ? "Waiting in line" : words.place(job.ahead);
      return [again + place, left === null ? "" : words.wait(left)];
    }
    case "running": return [words.stage(job.stage), left === null || left < 1.5 ? "" : `${words.wait(left)} left`];
    default: return ["Fetching the result", ""];
  }
}

function title(job) {
  if (!job) return "Matte";
  return `${{ done: "Ready", failed: "Failed" }[job.state] ?? "Working…"} · Matte`;
}

function factsOf({ facts, result }) {
  const parts = facts ? [`${facts.width} × ${facts.height}`, words.bytes(result.blob.size)] : [words.bytes(result.blob.size)];
  if (facts) parts.push(`${facts.model} ${facts.version}`);
  const total = facts?.timings?.total;
  if (total) parts.push(total < 1 ? `${Math.round(total * 1000)} ms` : `${total.toFixed(1)} s`);
  return parts.join(" · ");
}

const sorted = (params) => JSON.stringify(Object.entries(params).sort());
const sameParams = (a, b) => sorted(a) === sorted(b);
