// Model, version and options: the form beside the picture.

import * as api from "./api.js";

const $ = (id) => document.getElementById(id);
const FIRST_BACKOFF_MS = 2000;
const MAX_BACKOFF_MS = 15_000;
const form = $("settings");

/** Fires "change", and "catalog" after each attempt to load the catalog (detail: null, or the problem). */
export class Settings extends EventTarget {
  catalog = null;
  #timer = 0;
  #backoff = FIRST_BACKOFF_MS;

  constructor() {
    super();
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => this.#changed());
    $("model").addEventListener("change", () => this.#fillVersions());
    document.addEventListener("visibilitychange", () => document.hidden || this.refresh());
    this.#changed();
    this.refresh();
  }

  /** Loads the catalog, and again later while that fails or the selected model is not ready. */
  async refresh() {
    clearTimeout(this.#timer);
    try {
      this.#setCatalog(await api.catalog());
      this.dispatchEvent(new CustomEvent("catalog", { detail: null }));
      if (this.model?.ready) return void (this.#backoff = FIRST_BACKOFF_MS);
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
    const selected = this.catalog ? $("model").value : catalog.default_model;
    const version = $("version").value;
    this.catalog = catalog;
    $("model").replaceChildren(
      ...catalog.models.map(({ name, ready }) => new Option(`${name}${ready ? "" : " (not ready)"}`, name)),
    );
    $("model").value = catalog.models.some((model) => model.name === selected) ? selected : catalog.default_model;
    $("model").disabled = false;
    this.#fillVersions(version);
  }

  #fillVersions(selected = "") {
    const versions = this.model?.versions ?? [];
    const automatic = new Option(versions.length > 1 ? "Automatic" : "Automatic (latest)", "");
    const options = versions.map(({ version, weight, ready }) => {
      const notes = [weight > 0 && weight < 100 && `${weight} % of traffic`, !ready && "not ready"].filter(Boolean);
      return new Option(notes.length ? `${version} (${notes.join(", ")})` : version, version);
    });
    $("version").replaceChildren(automatic, ...options);
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
    const state = !ready ? "Starting: not ready yet"
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
