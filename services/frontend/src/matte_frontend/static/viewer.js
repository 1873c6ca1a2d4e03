// The main area: drop zone, running job, result or problem.

import { Compare } from "./compare.js";
import { sameParams } from "./jobs.js";
import * as messages from "./messages.js";
import { toPng } from "./pictures.js";

const $ = (id) => document.getElementById(id);
const PANELS = ["drop-zone", "working", "result", "failed"];
const STEPS = ["upload", "queue", "run"];
const STEP_OF_STATE = { waiting: "upload", uploading: "upload", queued: "queue", running: "run", fetching: "run" };

export class Viewer {
  job = null;
  compare = new Compare();

  constructor(settings) {
    this.settings = settings;
    $("copy").hidden = !(navigator.clipboard?.write && window.ClipboardItem);
    $("copy").addEventListener("click", () => this.copy());
    setInterval(() => this.panel === "working" && this.showStatus(), 1000);
  }

  /** Shows a job, or the drop zone if `job` is null. */
  show(job) {
    const panel = job ? { done: "result", failed: "failed" }[job.state] ?? "working" : "drop-zone";
    const changedPanel = this.job === job && this.panel !== panel;
    Object.assign(this, { job, panel });
    for (const id of PANELS) $(id).hidden = id !== panel;
    document.title = job ? `${{ done: "Ready", failed: "Failed" }[job.state] ?? "Working…"} · Matte` : "Matte";
    if (panel === "working") this.showWorking(job);
    if (panel === "result") this.showResult(job);
    else this.compare.hide();
    if (panel === "failed") this.showProblem(job);
    // if the button that had the focus is hidden now, the focus moves to what replaced it
    const title = { result: "result-title", failed: "problem-title" }[panel];
    if (changedPanel && title && document.activeElement === document.body) $(title).focus({ preventScroll: true });
  }

  showWorking(job) {
    const image = $("working-picture");
    const source = job.preview || job.originalUrl || job.thumbnail;
    if (source && image.getAttribute("src") !== source) image.src = source;
    image.hidden = !source || (job.file !== null && job.size === null && !job.preview);
    image.classList.toggle("preview", Boolean(job.preview));
    $("working").dataset.state = job.state;
    const current = STEPS.indexOf(STEP_OF_STATE[job.state]);
    document.querySelectorAll(".steps li").forEach((item, index) => {
      item.className = index < current ? "past" : index === current ? "current" : "";
    });
    $("offline").hidden = !job.offline;
    const fraction = { uploading: job.sent < 1 ? job.sent : null, running: job.fraction }[job.state] ?? null;
    if (fraction === null) $("progress").removeAttribute("value");
    else $("progress").value = fraction;
    this.showStatus();
  }

  showStatus() {
    const [status, detail] = messages.jobStatus(this.job);
    if ($("status").textContent !== status) $("status").textContent = status;
    if ($("status-detail").textContent !== detail) $("status-detail").textContent = detail;
  }

  showResult(job) {
    const { url } = job.result;
    this.compare.show(job.originalUrl || job.thumbnail, url);
    $("result-title").textContent = messages.resultTitle(job);
    $("result-facts").textContent = messages.resultFacts(job);
    const advice = messages.resultAdvice(job);
    $("result-advice").textContent = advice;
    $("result-advice").hidden = !advice;
    const name = messages.resultName(job);
    Object.assign($("download"), { href: url, download: name, title: name });
    $("apply-settings").hidden = !job.file || sameParams(job.params, this.settings.params);
  }

  showProblem({ problem, file }) {
    $("problem-title").textContent = problem.title;
    $("problem-detail").textContent = problem.detail;
    $("problem-advice").textContent = messages.advice(problem);
    $("problem-code").textContent = problem.code;
    $("retry").hidden = !file || messages.isPictureProblem(problem.code);
    $("choose-another").classList.toggle("primary", $("retry").hidden);
  }

  async copy() {
    let text = "Copied";
    try {
      await navigator.clipboard.write([new ClipboardItem({ "image/png": toPng(this.job.result.blob) })]);
    } catch {
      text = "Copying was not allowed";
    }
    $("copy").textContent = text;
    $("announcer").textContent = text;
    setTimeout(() => ($("copy").textContent = "Copy"), 2000);
  }
}
