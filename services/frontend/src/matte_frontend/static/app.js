// The page: wires what people do to the jobs, and the jobs to what people see.

import * as api from "./api.js";
import { ended, Jobs } from "./jobs.js";
import { filesOf } from "./pictures.js";
import { Settings } from "./settings.js";
import { describe, Stage } from "./stage.js";
import { Strip } from "./strip.js";
import { bytes, span } from "./words.js";

const $ = (id) => document.getElementById(id);
const MOST_FILES = 50;
const SPEAK_EVERY_MS = 4000; // a queue position per second is noise to a screen reader

const jobs = new Jobs();
const settings = new Settings();
const stage = new Stage(settings);
const strip = new Strip(jobs);

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

function send(files) {
  if (!files.length) return;
  notice(files.length > MOST_FILES ? `Only the first ${MOST_FILES} of ${files.length} pictures were taken.` : "");
  jobs.add(files.slice(0, MOST_FILES), settings.params);
  if ($("stage").getBoundingClientRect().top < 0) $("stage").scrollIntoView();
}

let spoken = { text: "", at: 0 };

function speak(job) {
  const text = job.state === "done" ? "The result is ready."
    : job.state === "failed" ? job.problem.text : describe(job).join(", ");
  const now = performance.now();
  if (text === spoken.text || (!ended(job) && now - spoken.at < SPEAK_EVERY_MS)) return;
  spoken = { text, at: now };
  $("say").textContent = text;
}

function choose() {
  jobs.select(null);
  $("files").focus({ preventScroll: true });
}

function watchJobs() {
  jobs.addEventListener("list", () => (stage.show(jobs.selected), strip.list()));
  jobs.addEventListener("change", ({ detail: job }) => {
    strip.change(job);
    if (job !== jobs.selected) return;
    stage.show(job);
    speak(job);
  });
}

function watchButtons() {
  $("files").addEventListener("change", ({ target }) => {
    const files = [...target.files];
    target.value = ""; // so that the same file can be chosen again
    send(files);
  });
  $("cancel").addEventListener("click", () => jobs.cancel(jobs.selected));
  $("retry").addEventListener("click", () => jobs.again(jobs.selected, settings.params));
  $("again").addEventListener("click", () => jobs.again(jobs.selected, settings.params));
  for (const id of ["another", "other"]) $(id).addEventListener("click", choose);
}

function watchSettings() {
  let reached = true;
  settings.addEventListener("change", () => stage.job?.state === "done" && stage.show(stage.job));
  settings.addEventListener("reached", ({ detail: problem }) => {
    if (problem) notice(`${problem.title}. Trying again…`);
    else if (!reached) notice("");
    reached = !problem;
    if (!problem && !jobs.limits) learnLimits();
  });
}

function watchDrops() {
  let depth = 0; // dragenter and dragleave fire for every element on the way
  const over = (change) => {
    depth = Math.max(0, depth + change);
    $("veil").hidden = depth === 0;
  };
  const hasFiles = (e) => e.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (e) => hasFiles(e) && over(1));
  addEventListener("dragleave", (e) => hasFiles(e) && over(-1));
  addEventListener("dragover", (e) => hasFiles(e) && e.preventDefault());
  addEventListener("drop", (e) => {
    if (!hasFiles(e)) return;
    e.preventDefault();
    over(-depth);
    send(filesOf(e.dataTransfer));
  });
  addEventListener("paste", (e) => {
    const files = filesOf(e.clipboardData);
    if (files.length) e.preventDefault();
    else if (!e.target.closest?.("input:not([type=file])")) notice("There is no picture in the clipboard.");
    send(files);
  });
}

async function learnLimits() {
  const limits = await api.limits().catch(() => null);
  if (!limits) return; // the service checks in any case
  jobs.limits = limits;
  const bounds = `up to ${bytes(limits.max_bytes)} and ${Math.floor(limits.max_pixels / 1e6)} megapixels`;
  const formats = limits.formats.map((format) => (format === "WEBP" ? "WebP" : format));
  $("bounds").textContent = `${formats.slice(0, -1).join(", ")} or ${formats.at(-1)}, ${bounds}`;
  $("promise").textContent = `Results are kept for ${span(limits.result_ttl_seconds)}, then deleted.`;
}

if (/Mac|iPhone|iPad/.test(navigator.platform)) $("paste-key").textContent = "⌘ V";
watchJobs();
watchButtons();
watchSettings();
watchDrops();
jobs.restore();
