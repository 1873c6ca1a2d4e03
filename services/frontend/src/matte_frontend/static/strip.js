// The list of pictures under the stage, shown from the second one on.

import { ended } from "./jobs.js";
import { describe } from "./stage.js";
import { resultName } from "./words.js";

const $ = (id) => document.getElementById(id);
const STATES = { done: "Ready", failed: "Failed", waiting: "Waiting", uploading: "Uploading", queued: "In line" };
const GAP_MS = 250; // browsers drop downloads that start in the same moment

export class Strip {
  constructor(jobs) {
    this.jobs = jobs;
    this.tiles = new Map();
    $("clear").addEventListener("click", () => jobs.clear());
    $("download-all").addEventListener("click", () => this.downloadAll());
  }

  /** Matches the tiles to the list. */
  list() {
    const { list } = this.jobs;
    $("strip").hidden = list.length === 0 || (list.length === 1 && this.jobs.selected !== null);
    for (const job of list) if (!this.tiles.has(job)) this.tiles.set(job, tile(job, this.jobs));
    for (const job of this.tiles.keys()) if (!list.includes(job)) this.tiles.delete(job);
    $("tiles").replaceChildren(...list.map((job) => this.tiles.get(job)));
    for (const job of list) this.change(job);
  }

  change(job) {
    const item = this.tiles.get(job);
    if (!item) return;
    const [button, image, label] = [item.firstChild, item.querySelector("img"), item.querySelector("span")];
    const source = job.result?.url || job.preview || job.thumb || (job.size ? job.before : "");
    if (source && image.getAttribute("src") !== source) image.src = source;
    image.hidden = !source;
    const state = STATES[job.state] ?? "Cutting";
    item.dataset.state = job.state;
    label.textContent = state;
    button.ariaPressed = String(job === this.jobs.selected);
    button.ariaLabel = `${job.name}: ${ended(job) ? state : describe(job).join(" ")}`;
    $("download-all").hidden = this.jobs.list.filter((other) => other.result).length < 2;
    $("clear").hidden = !this.jobs.list.some(ended);
  }

  async downloadAll() {
    for (const { result, name, params } of this.jobs.list.filter((job) => job.result)) {
      const link = document.createElement("a");
      Object.assign(link, { href: result.url, download: resultName(name, params, result.blob.type) });
      link.click();
      await new Promise((resolve) => setTimeout(resolve, GAP_MS));
    }
  }
}

function tile(job, jobs) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  const image = document.createElement("img");
  image.alt = "";
  image.hidden = true;
  image.className = "checker";
  button.type = "button";
  button.title = job.name;
  button.append(image, document.createElement("span"));
  button.addEventListener("click", () => jobs.select(job));
  item.append(button);
  return item;
}
