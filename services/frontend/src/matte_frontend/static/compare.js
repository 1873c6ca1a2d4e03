// The before/after slider, by pointer, touch and keyboard. The picture is fitted or shown at its actual size.

import { load } from "./pictures.js";

const $ = (id) => document.getElementById(id);
const MAX_SCALE = 2; // small pictures are enlarged, but not into a blur
const MAX_ASPECT_DIFFERENCE = 0.02; // a cropped result cannot be laid over the original
const KEY_STEPS = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10 };

export class Compare {
  viewport = $("viewport");
  frame = $("compare");
  handle = $("handle");
  resultUrl = null;

  constructor() {
    this.frame.addEventListener("pointerdown", (event) => this.startDrag(event));
    this.frame.addEventListener("pointermove", (event) => {
      if (this.frame.hasPointerCapture(event.pointerId)) this.drag(event);
    });
    this.handle.addEventListener("keydown", (event) => this.pressKey(event));
    $("zoom").addEventListener("click", () => this.setActualSize(!this.actualSize));
    $("toggle").addEventListener("click", () => this.showOriginal($("toggle").ariaPressed !== "true"));
    new ResizeObserver(() => this.fit()).observe(this.viewport);
  }

  /** Shows a result over its original. Both are URLs; `originalUrl` may be "". */
  async show(originalUrl, resultUrl) {
    if (this.resultUrl === resultUrl) return;
    this.resultUrl = resultUrl;
    const [result, original] = await Promise.all([load(resultUrl), originalUrl ? load(originalUrl) : null]);
    if (this.resultUrl !== resultUrl || !result) return;
    this.width = result.naturalWidth;
    this.height = result.naturalHeight;
    const aspect = (image) => image.naturalWidth / image.naturalHeight;
    this.hasSlider = Boolean(original) && Math.abs(aspect(result) / aspect(original) - 1) < MAX_ASPECT_DIFFERENCE;
    $("after").src = resultUrl;
    if (original) $("before").src = originalUrl;
    else $("before").removeAttribute("src");
    this.frame.classList.toggle("with-slider", this.hasSlider);
    $("toggle").hidden = this.hasSlider || !original;
    this.handle.hidden = !this.hasSlider;
    this.showOriginal(false);
    this.setActualSize(false);
    // the slider explains itself: it moves from the right edge to the middle
    this.split(100);
    void this.frame.offsetWidth; // starts the transition from here
    this.split(50, { animated: true });
  }

  hide() {
    this.resultUrl = null;
    for (const id of ["after", "before"]) $(id).removeAttribute("src");
  }

  split(percent, { animated = false } = {}) {
    this.percent = Math.min(100, Math.max(0, percent));
    this.frame.classList.toggle("animated", animated);
    this.frame.style.setProperty("--split", `${this.percent}%`);
    const rounded = Math.round(this.percent);
    this.handle.ariaValueNow = String(rounded);
    this.handle.ariaValueText = `${rounded} % before, ${100 - rounded} % after`;
  }

  showOriginal(on) {
    $("toggle").ariaPressed = String(on);
    $("toggle").textContent = on ? "Show result" : "Show original";
    this.frame.classList.toggle("original", on);
  }

  setActualSize(on) {
    this.actualSize = on;
    $("zoom").ariaPressed = String(on);
    $("zoom").textContent = on ? "Fit" : "Actual size";
    this.viewport.classList.toggle("actual-size", on);
    this.viewport.tabIndex = on ? 0 : -1; // so that keys can scroll it
    this.fit();
  }

  fit() {
    if (!this.width) return;
    const style = getComputedStyle(this.viewport);
    const width = this.viewport.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const height = parseFloat(style.getPropertyValue("max-height")) - parseFloat(style.paddingTop) * 2;
    if (width <= 0) return;
    const fitting = Math.min(width / this.width, height / this.height, MAX_SCALE);
    $("zoom").hidden = fitting >= 1 && !this.actualSize;
    const scale = this.actualSize ? 1 : fitting;
    this.frame.style.width = `${Math.max(1, Math.round(this.width * scale))}px`;
    this.frame.style.height = `${Math.max(1, Math.round(this.height * scale))}px`;
  }

  // At actual size a drag scrolls the picture, and only the handle moves the slider.
  startDrag(event) {
    if (!this.hasSlider || event.button !== 0) return;
    const onHandle = event.target.closest("#handle");
    if (this.actualSize && !onHandle) return;
    event.preventDefault();
    this.frame.setPointerCapture(event.pointerId);
    this.frame.classList.remove("animated");
    this.handle.focus({ preventScroll: true });
    if (!onHandle) this.drag(event);
  }

  drag(event) {
    const box = this.frame.getBoundingClientRect();
    this.split(((event.clientX - box.left) / box.width) * 100);
  }

  pressKey(event) {
    const percent = { Home: 0, End: 100 }[event.key] ?? this.percent + KEY_STEPS[event.key];
    if (Number.isNaN(percent) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.split(percent);
  }
}
