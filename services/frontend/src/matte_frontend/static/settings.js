// Model, version and options: the form beside the picture.

import * as api from "./api.js";

const $ = (id) => document.getElementById(id);
const FIRST_PAUSE_MS = 2000;
const LONGEST_PAUSE_MS = 15_000;
const form = $("settings");

export class Settings extends EventTarget {
  catalog = null;
  #timer = 0;
  #pause = FIRST_PAUSE_MS;

  constructor() {
    super();
    form.addEventListener("submit", (e) => e.preventDefault());
    form.addEventListener("input", () => this.#changed());
    $("model").addEventListener("change", () => this.#versions());
    document.addEventListener("visibilitychange", () => document.hidden || this.refresh());
    this.#changed();
    this.refresh();
  }

  /** Loads the catalog; asks again while it cannot be had or its default is not ready. */
  async refresh() {
    clearTimeout(this.#timer);
    try {
      this.#take(await api.catalog());
      this.dispatchEvent(new CustomEvent("reached", { detail: null }));
      if (this.model?.ready) return void (this.#pause = FIRST_PAUSE_MS);
    } catch (problem) {
      this.dispatchEvent(new CustomEvent("reached", { detail: problem }));
    }
    if (document.hidden) return;
    this.#timer = setTimeout(() => this.refresh(), this.#pause);
    this.#pause = Math.min(this.#pause * 1.5, LONGEST_PAUSE_MS);
  }

  get model() {
    return this.catalog?.models.find((model) => model.name === $("model").value) ?? null;
  }

  get version() {
    return this.model?.versions.find((version) => version.version === $("version").value) ?? null;
  }

  /** The query of POST /v1/jobs; what is at its default is left out. */
  get params() {
    const data = new FormData(form);
    const output = data.get("output");
    const params = { output, format: data.get("format") };
    if (this.model) params.model = this.model.name;
    if (this.version) params.version = this.version.version;
    if (output === "cutout" && data.get("background") === "color") params.bg_color = $("color").value.slice(1);
    if ($("crop").checked) {
      params.crop = "true";
      params.crop_margin = `${$("margin").valueAsNumber || 0}${$("unit").value}`;
    }
    return params;
  }

  #take(catalog) {
    const chosen = this.catalog ? $("model").value : catalog.default_model;
    const version = $("version").value;
    this.catalog = catalog;
    $("model").replaceChildren(...catalog.models.map((model) => modelOption(model)));
    $("model").value = catalog.models.some((model) => model.name === chosen) ? chosen : catalog.default_model;
    $("model").disabled = false;
    this.#versions(version);
  }

  #versions(chosen = "") {
    const versions = this.model?.versions ?? [];
    const automatic = new Option(versions.length > 1 ? "Automatic" : "Automatic (latest)", "");
    $("version").replaceChildren(automatic, ...versions.map((version) => versionOption(version)));
    $("version").value = versions.some((version) => version.version === chosen) ? chosen : "";
    $("version").disabled = !versions.length;
    this.#changed();
  }

  #changed() {
    const mask = form.elements.output.value === "mask";
    $("background").hidden = mask;
    $("color-row").hidden = form.elements.background.value !== "color";
    $("margin-row").hidden = !$("crop").checked;
    $("summary").textContent = summary(this.params);
    facts(this.model, this.version);
    this.dispatchEvent(new Event("change"));
  }
}

function modelOption(model) {
  return new Option(`${model.name}${model.ready ? "" : " (not ready)"}`, model.name);
}

function versionOption({ version, weight, ready }) {
  const notes = [weight > 0 && weight < 100 && `${weight} % of traffic`, !ready && "not ready"].filter(Boolean);
  return new Option(notes.length ? `${version} (${notes.join(", ")})` : version, version.toString());
}

/** The options that differ from the default, in a few words. */
function summary(params) {
  const words = [params.output === "mask" ? "mask" : "cut-out", params.format === "webp" ? "WebP" : "PNG"];
  if (params.bg_color) words.push(`on #${params.bg_color}`);
  if (params.crop) words.push("cropped");
  return words.join(", ");
}

function facts(model, version) {
  if (!model) return $("facts").replaceChildren();
  const served = version ? [version] : model.versions.filter((v) => v.weight > 0);
  const licenses = [...new Set(served.map((v) => v.license ?? "not stated"))];
  const ready = version ? version.ready : model.ready;
  const waiting = model.queue_length;
  const state = ready ? (waiting ? `Ready, ${waiting} waiting` : "Ready") : "Starting: not ready yet";
  const rows = [["State", state, ready ? "ready" : "starting"], ["License", licenses.join(", "), ""]];
  const fresh = rows.flatMap(([term, text, kind]) => row(term, text, kind));
  if ($("facts").textContent !== fresh.map((node) => node.textContent).join("")) $("facts").replaceChildren(...fresh);
}

function row(term, text, kind) {
  const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
  dt.textContent = term;
  dd.textContent = text;
  if (kind) dd.className = kind;
  return [dt, dd];
}
