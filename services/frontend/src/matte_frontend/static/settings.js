// Model, version and options: the form beside the picture.

import * as api from "./api.js";
import { pendingVersion, versionState } from "./messages.js";

const $ = (id) => document.getElementById(id);
const FIRST_BACKOFF_MS = 2000;
const MAX_BACKOFF_MS = 15_000;
const PENDING_MS = 1000; // while a model is being downloaded
const form = $("settings");
const STATES = {
  downloading: "Being downloaded: pictures wait for it", loading: "Being loaded", failed: "Not available: it failed",
};

/** Options that are the same already stay, so that an open list does not close. */
function replaceOptions(select, options) {
  const same = options.length === select.options.length
    && options.every(({ value, text }, i) => value === select.options[i].value && text === select.options[i].text);
  if (!same) select.replaceChildren(...options);
}

/** Fires "change", and "catalog" after each attempt to load the catalog (detail: null, or the problem). */
export class Settings extends EventTarget {
  catalog = null;
  #chosen = false; // by a person: then it does not follow the default model
  #timer = 0;
  #backoff = FIRST_BACKOFF_MS;

  constructor() {
    super();
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => this.#changed());
    $("model").addEventListener("change", () => {
      this.#chosen = true;
      this.#fillVersions();
    });
    document.addEventListener("visibilitychange", () => document.hidden || this.refresh());
    this.#changed();
    this.refresh();
  }

  /** Loads the catalog, and again later while that fails, or a model is not ready that is selected or downloaded. */
  async refresh() {
    clearTimeout(this.#timer);
    try {
      this.#setCatalog(await api.catalog());
      this.dispatchEvent(new CustomEvent("catalog", { detail: null }));
      const pending = pendingVersion(this.catalog);
      if (this.model?.ready && !pending && !this.catalog.pending_default_model) {
        return void (this.#backoff = FIRST_BACKOFF_MS);
      }
      if (pending && !pending.failed) this.#backoff = PENDING_MS;
    } catch (problem) {
      this.dispatchEvent(new CustomEvent("catalog", { detail: problem }));
    }
    if (document.hidden) return;
    this.#timer = setTimeout(() => this.refresh(), this.#backoff);
    this.#backoff = Math.min(this.#backoff * 1.5, MAX_BACKOFF_MS);
  }

  get model() {
    return this.catalog?.models.find((model) => model.name === $("model").value) ?? null;
  }

  get version() {
    return this.model?.versions.find((version) => version.version === $("version").value) ?? null;
  }

  /** The query of POST /v1/jobs, without options that are at their default. */
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

  #setCatalog(catalog) {
    const selected = this.#chosen ? $("model").value : catalog.default_model;
    const version = $("version").value;
    this.catalog = catalog;
    replaceOptions($("model"), catalog.models.map(({ name, ready, versions }) => {
      const awaited = versions.find(({ weight, download }) => weight > 0 && download) ?? {};
      return new Option(ready ? name : `${name} (${versionState(awaited)})`, name);
    }));
    $("model").value = catalog.models.some((model) => model.name === selected) ? selected : catalog.default_model;
    $("model").disabled = false;
    this.#fillVersions(version);
  }

  #fillVersions(selected = "") {
    const versions = this.model?.versions ?? [];
    const automatic = new Option(versions.length > 1 ? "Automatic" : "Automatic (latest)", "");
    const options = versions.map((each) => {
      const { version, weight, ready } = each;
      const notes = [weight > 0 && weight < 100 && `${weight} % of traffic`, !ready && versionState(each)];
      const shown = notes.filter(Boolean).join(", ");
      return new Option(shown ? `${version} (${shown})` : version, version);
    });
    replaceOptions($("version"), [automatic, ...options]);
    $("version").value = versions.some(({ version }) => version === selected) ? selected : "";
    $("version").disabled = !versions.length;
    this.#changed();
  }

  #changed() {
    $("background").hidden = form.elements.output.value === "mask";
    $("color-row").hidden = form.elements.background.value !== "color";
    $("margin-row").hidden = !$("crop").checked;
    const { output, format, bg_color: color, crop } = this.params;
    const summary = [output === "mask" ? "mask" : "cut-out", format === "webp" ? "WebP" : "PNG"];
    if (color) summary.push(`on #${color}`);
    if (crop) summary.push("cropped");
    $("summary").textContent = summary.join(", ");
    this.#showFacts();
    this.dispatchEvent(new Event("change"));
  }

  /** State and license of what would answer. The list is a live region: it is only replaced if its text changes. */
  #showFacts() {
    const { model, version } = this;
    if (!model) return $("facts").replaceChildren();
    const served = version ? [version] : model.versions.filter(({ weight }) => weight > 0);
    const licenses = new Set(served.map(({ license }) => license ?? "not stated"));
    const { ready } = version ?? model;
    const awaited = served.find(({ download }) => download);
    const state = !ready ? awaited ? STATES[versionState(awaited)] : "Starting: not ready yet"
      : model.queue_length ? `Ready, ${model.queue_length} waiting` : "Ready";
    const facts = document.createDocumentFragment();
    for (const [term, text, className] of [
      ["State", state, ready ? "ready" : "starting"], ["License", [...licenses].join(", "), ""],
    ]) {
      facts.append(
        Object.assign(document.createElement("dt"), { textContent: term }),
        Object.assign(document.createElement("dd"), { textContent: text, className }),
      );
    }
    if ($("facts").textContent !== facts.textContent) $("facts").replaceChildren(facts);
  }
}
