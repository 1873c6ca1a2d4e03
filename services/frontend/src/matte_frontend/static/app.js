// Wires the page: user input to the jobs, and the jobs to what is shown.

import * as api from "./api.js";
import { Filmstrip } from "./filmstrip.js";
import { isFinished, Jobs } from "./jobs.js";
import { formatBytes, formatDuration, jobStatus, pendingVersion, resultAdvice, resultTitle } from "./messages.js";
import { Settings } from "./settings.js";
import { Viewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const MAX_FILES = 50;
const ANNOUNCE_INTERVAL_MS = 4000; // a queue position per second is noise to a screen reader

const READY_MS = 8000; // that the page says that a model is ready

const jobs = new Jobs();
const settings = new Settings();
const viewer = new Viewer(settings);
const filmstrip = new Filmstrip(jobs);

function showNotice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

function submit(files) {
  if (!files.length) return;
  showNotice(files.length > MAX_FILES ? `Only the first ${MAX_FILES} of ${files.length} pictures were taken.` : "");
  jobs.add(files.slice(0, MAX_FILES), settings.params);
  if ($("viewer").getBoundingClientRect().top < 0) $("viewer").scrollIntoView();
}

function readyAnnouncement(job) {
  const advice = resultAdvice(job);
  return advice ? `${resultTitle(job)}. ${advice}` : "The result is ready.";
}

let announced = { text: "", at: 0 };

function announce(job) {
  const text = job.state === "done" ? readyAnnouncement(job)
    : job.state === "failed" ? job.problem.detail || job.problem.title : jobStatus(job).join(", ");
  const now = performance.now();
  if (text === announced.text || (!isFinished(job) && now - announced.at < ANNOUNCE_INTERVAL_MS)) return;
  announced = { text, at: now };
  $("announcer").textContent = text;
}

async function loadLimits() {
  const limits = await api.limits().catch(() => null);
  if (!limits) return; // the service checks in any case
  jobs.limits = limits;
  const maximum = `up to ${formatBytes(limits.max_bytes)} and ${Math.floor(limits.max_pixels / 1e6)} megapixels`;
  const formats = limits.formats.map((format) => (format === "WEBP" ? "WebP" : format));
  $("limits").textContent = `${formats.slice(0, -1).join(", ")} or ${formats.at(-1)}, ${maximum}`;
  $("retention").textContent = `Results are kept for ${formatDuration(limits.result_ttl_seconds)}, then deleted.`;
}

jobs.addEventListener("list", () => (viewer.show(jobs.selected), filmstrip.update()));
jobs.addEventListener("change", ({ detail: job }) => {
  filmstrip.updateJob(job);
  if (job !== jobs.selected) return;
  viewer.show(job);
  announce(job);
});

let pendingKey = "";
let awaitedModel = null; // becomes the default model
let pendingTimer = 0;

/** A bar while a model is being downloaded, and a sentence when it is ready; each step is announced once. */
function showPending(catalog) {
  const arrived = awaitedModel !== null && catalog.default_model === awaitedModel;
  awaitedModel = catalog.pending_default_model;
  const pending = pendingVersion(catalog) ?? (arrived ? {
    key: "ready", text: `${catalog.default_model} is ready and answers from now on.`, failed: false, share: null,
  } : null);
  if (!pending) {
    if (awaitedModel !== null) return; // loaded, and about to answer
    if (pendingKey !== "ready") $("pending").hidden = true;
    pendingKey = pendingKey === "ready" ? pendingKey : "";
    return;
  }
  $("pending").hidden = false;
  $("pending").classList.toggle("failed", pending.failed);
  $("pending-text").textContent = pending.text;
  $("pending-progress").hidden = pending.failed || pending.key === "ready";
  if (pending.share === null) $("pending-progress").removeAttribute("value");
  else $("pending-progress").value = pending.share;
  if (pending.key !== pendingKey) $("announcer").textContent = pending.text;
  pendingKey = pending.key;
  clearTimeout(pendingTimer);
  if (pending.key === "ready") pendingTimer = setTimeout(() => ($("pending").hidden = true), READY_MS);
}

let reachable = true;
settings.addEventListener("change", () => viewer.job?.state === "done" && viewer.show(viewer.job));
settings.addEventListener("catalog", ({ detail: problem }) => {
  if (problem) showNotice(`${problem.title}. Trying again…`);
  else if (!reachable) showNotice("");
  reachable = !problem;
  if (reachable && !jobs.limits) loadLimits();
  if (reachable) showPending(settings.catalog);
});

$("files").addEventListener("change", ({ target }) => {
  const files = [...target.files];
  target.value = ""; // so that the same file can be chosen again
  submit(files);
});
$("cancel").addEventListener("click", () => jobs.cancel(jobs.selected));
for (const id of ["retry", "apply-settings"]) {
  $(id).addEventListener("click", () => jobs.resubmit(jobs.selected, settings.params));
}
for (const id of ["try-another", "choose-another"]) {
  $(id).addEventListener("click", () => {
    jobs.select(null);
    $("files").focus({ preventScroll: true });
  });
}

let dragDepth = 0; // dragenter and dragleave fire for every element on the way
const setDragDepth = (depth) => {
  dragDepth = Math.max(0, depth);
  $("drop-overlay").hidden = dragDepth === 0;
};
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => hasFiles(event) && setDragDepth(dragDepth + 1));
addEventListener("dragleave", (event) => hasFiles(event) && setDragDepth(dragDepth - 1));
addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  setDragDepth(0);
  submit([...event.dataTransfer.files]);
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) event.preventDefault();
  else if (!event.target.closest?.("input:not([type=file])")) showNotice("There is no picture in the clipboard.");
  submit(files);
});

if (/Mac|iPhone|iPad/.test(navigator.platform)) $("paste-key").textContent = "⌘ V";
jobs.restore();
