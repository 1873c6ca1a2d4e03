// The row of pictures below the viewer, shown once there is more than one.

import { isFinished } from "./jobs.js";
import { jobStatus, resultName } from "./messages.js";

const $ = (id) => document.getElementById(id);
const LABELS = { done: "Ready", failed: "Failed", waiting: "Waiting", uploading: "Uploading", queued: "In line" };
const DOWNLOAD_INTERVAL_MS = 250; // browsers drop downloads that start at the same moment

export class Filmstrip {
  #tiles = new Map();

  constructor(jobs) {
    this.jobs = jobs;
    $("clear").addEventListener("click", () => jobs.clearFinished());
    $("download-all").addEventListener("click", () => this.downloadAll());
  }

  /** Makes the tiles match the list of jobs. */
  update() {
    const { list, selected } = this.jobs;
    $("filmstrip").hidden = list.length === 0 || (list.length === 1 && selected !== null);
    this.#tiles = new Map(list.map((job) => [job, this.#tiles.get(job) ?? this.#newTile(job)]));
    $("tiles").replaceChildren(...this.#tiles.values());
    for (const job of list) this.updateJob(job);
  }

  updateJob(job) {
    const tile = this.#tiles.get(job);
    if (!tile) return;
    const [button, image, label] = [tile.firstChild, tile.querySelector("img"), tile.querySelector("span")];
    const source = job.result?.url || job.preview || job.thumbnail || (job.size ? job.originalUrl : "");
    if (source && image.getAttribute("src") !== source) image.src = source;
    image.hidden = !source;
    tile.dataset.state = job.state;
    label.textContent = LABELS[job.state] ?? "Cutting";
    button.ariaPressed = String(job === this.jobs.selected);
    button.ariaLabel = `${job.name}: ${isFinished(job) ? label.textContent : jobStatus(job).join(" ")}`;
    $("download-all").hidden = this.jobs.list.filter((other) => other.result).length < 2;
    $("clear").hidden = !this.jobs.list.some(isFinished);
  }

  async downloadAll() {
    for (const job of this.jobs.list.filter((job) => job.result)) {
      const link = document.createElement("a");
      Object.assign(link, { href: job.result.url, download: resultName(job) });
      link.click();
      await new Promise((resolve) => setTimeout(resolve, DOWNLOAD_INTERVAL_MS));
    }
  }

  #newTile(job) {
    const tile = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button", title: job.name });
    const image = Object.assign(document.createElement("img"), { alt: "", hidden: true, className: "checkerboard" });
    button.append(image, document.createElement("span"));
    button.addEventListener("click", () => this.jobs.select(job));
    tile.append(button);
    return tile;
  }
}
