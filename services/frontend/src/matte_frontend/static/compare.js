// The before/after slider: pointer, touch and keyboard; fits the picture, or shows it at its actual size.

import { load } from "./pictures.js";

const $ = (id) => document.getElementById(id);
const LARGEST_SCALE = 2; // small pictures grow, but not into a blur
const SAME_SHAPE = 0.02; // a cropped result cannot be laid over the original
const STEPS = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10 };

export class Compare {
  constructor() {
    this.viewer = $("viewer");
    this.frame = $("compare");
    this.handle = $("handle");
    this.shown = null;
    this.frame.addEventListener("pointerdown", (e) => this.grab(e));
    this.frame.addEventListener("pointermove", (e) => this.drag(e));
    this.handle.addEventListener("keydown", (e) => this.key(e));
    $("zoom").addEventListener("click", () => this.zoom(!this.actual));
    $("toggle").addEventListener("click", () => this.original($("toggle").ariaPressed !== "true"));
    new ResizeObserver(() => this.fit()).observe(this.viewer);
  }

  /** Shows a result over its original. Both are addresses; `before` may be "". */
  async show(before, after) {
    if (this.shown === after) return;
    this.shown = after;
    const [over, under] = await Promise.all([load(after), before ? load(before) : null]);
    if (this.shown !== after || !over) return;
    this.width = over.naturalWidth;
    this.height = over.naturalHeight;
    this.hasBefore = Boolean(under);
    this.slides = Boolean(under) && sameShape(over, under);
    $("after").src = after;
    if (under) $("before").src = before;
    else $("before").removeAttribute("src");
    this.frame.classList.toggle("slides", this.slides);
    $("toggle").hidden = this.slides || !this.hasBefore;
    this.handle.hidden = !this.slides;
    this.original(false);
    this.zoom(false);
    this.reveal();
  }

  hide() {
    this.shown = null;
    for (const id of ["after", "before"]) $(id).removeAttribute("src");
  }

  /** From all before to half and half, so that the slider explains itself. */
  reveal() {
    this.frame.classList.remove("settling");
    this.split(100);
    void this.frame.offsetWidth; // the transition starts from here
    this.frame.classList.add("settling");
    this.split(50);
  }

  split(percent) {
    this.at = Math.min(100, Math.max(0, percent));
    this.frame.style.setProperty("--split", `${this.at}%`);
    this.handle.ariaValueNow = String(Math.round(this.at));
    this.handle.ariaValueText = `${Math.round(this.at)} % before, ${100 - Math.round(this.at)} % after`;
  }

  original(on) {
    $("toggle").ariaPressed = String(on);
    $("toggle").textContent = on ? "Show result" : "Show original";
    this.frame.classList.toggle("original", on);
    this.frame.classList.toggle("checkered", !on);
  }

  zoom(actual) {
    this.actual = actual;
    $("zoom").ariaPressed = String(actual);
    $("zoom").textContent = actual ? "Fit" : "Actual size";
    this.viewer.classList.toggle("actual", actual);
    this.viewer.tabIndex = actual ? 0 : -1; // so that keys can scroll it
    this.fit();
  }

  fit() {
    if (!this.width) return;
    const room = getComputedStyle(this.viewer);
    const wide = this.viewer.clientWidth - parseFloat(room.paddingLeft) - parseFloat(room.paddingRight);
    const high = parseFloat(room.getPropertyValue("max-height")) - parseFloat(room.paddingTop) * 2;
    if (wide <= 0) return;
    const fitting = Math.min(wide / this.width, high / this.height, LARGEST_SCALE);
    $("zoom").hidden = fitting >= 1 && !this.actual;
    const scale = this.actual ? 1 : fitting;
    this.frame.style.width = `${Math.max(1, Math.round(this.width * scale))}px`;
    this.frame.style.height = `${Math.max(1, Math.round(this.height * scale))}px`;
  }

  // At actual size a drag scrolls the picture, and only the handle moves the line.
  grab(event) {
    if (!this.slides || event.button !== 0) return;
    const handle = event.target.closest("#handle");
    if (this.actual && !handle) return;
    event.preventDefault();
    this.frame.setPointerCapture(event.pointerId);
    this.frame.classList.remove("settling");
    this.handle.focus({ preventScroll: true });
    if (!handle) this.move(event);
  }

  drag(event) {
    if (this.frame.hasPointerCapture(event.pointerId)) this.move(event);
  }

  move(event) {
    const box = this.frame.getBoundingClientRect();
    this.split(((event.clientX - box.left) / box.width) * 100);
  }

  key(event) {
    const to = event.key === "Home" ? 0 : event.key === "End" ? 100 : this.at + (STEPS[event.key] ?? NaN);
    if (Number.isNaN(to) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.frame.classList.remove("settling");
    this.split(to);
  }
}

function sameShape(a, b) {
  const ratio = (a.naturalWidth * b.naturalHeight) / (a.naturalHeight * b.naturalWidth);
  return Math.abs(ratio - 1) < SAME_SHAPE;
}
