// Texts that people read. Pure functions: no page, no network.

const ordinals = new Intl.PluralRules("en", { type: "ordinal" });
const SUFFIX = { one: "st", two: "nd", few: "rd", other: "th" };

/** 1 → "1st". */
export const ordinal = (n) => `${n}${SUFFIX[ordinals.select(n)]}`;

/** Seconds in words: "a moment", "about 12 s", "about 3 min". */
export function wait(seconds) {
  if (seconds < 1.5) return "a moment";
  if (seconds < 90) return `about ${Math.round(seconds)} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${Math.round(seconds / 3600)} h`;
}

/** Bytes in words: "1.4 MB". */
export function bytes(n) {
  if (n < 1e3) return `${n} bytes`;
  if (n < 1e6) return `${Math.round(n / 1e3)} kB`;
  return `${(n / 1e6).toFixed(n < 1e7 ? 1 : 0).replace(/\.0$/, "")} MB`;
}

/** A duration that is a promise, not a guess: "1 hour", "30 minutes". */
export function span(seconds) {
  const [n, unit] = seconds >= 5400 || seconds === 3600 ? [Math.round(seconds / 3600), "hour"]
    : seconds >= 60 ? [Math.round(seconds / 60), "minute"] : [Math.round(seconds), "second"];
  return `${n} ${unit}${n === 1 ? "" : "s"}`;
}

/** Jobs ahead → where this one stands. */
export function place(ahead) {
  return ahead === 0 ? "Next in line" : `${ordinal(ahead + 1)} in line`;
}

const STAGES = {
  fetch: "Fetching the picture", decode: "Reading the picture", forward: "Finding the subject",
  segment: "Finding the subject", refine: "Refining the edges", compose: "Composing the result",
  encode: "Writing the result", store: "Storing the result",
};

/** What the model is doing, from a progress event's stage. */
export const stage = (name) => STAGES[name] ?? "Cutting out the subject";

/** "beach photo.jpg", {output: "mask"}, "image/webp" → "beach photo-mask.webp". */
export function resultName(name, params, type) {
  const stem = name.replace(/\.[^.]*$/, "") || "picture";
  return `${stem}-${params.output === "mask" ? "mask" : "cutout"}.${type === "image/webp" ? "webp" : "png"}`;
}

const ANOTHER = "Choose another picture, or save this one again as JPEG or PNG and send that.";
const ADVICE = {
  payload_too_large: "Save the picture smaller, or as JPEG, and send it again.",
  too_many_pixels: "Scale the picture down and send it again.",
  picture_missing: ANOTHER, not_a_picture: ANOTHER, unsupported_format: ANOTHER, picture_empty: ANOTHER,
  picture_truncated: "The file seems to be cut off. Copy or download it again, then send it again.",
  picture_corrupt: ANOTHER,
  picture_animated: "Save the one frame that you want as a picture of its own and send that.",
  queue_full: "Many pictures are waiting. Try again in a minute.",
  model_not_ready: "The model is still starting. Try again in a minute, or choose another model.",
  model_not_found: "Choose another model and try again.",
  version_not_found: "Choose another version and try again.",
  job_not_found: "Jobs are kept for a limited time. Send the picture again.",
  job_expired: "Send the picture again.",
  result_expired: "Send the picture again.",
  out_of_memory: "Scale the picture down, or choose a smaller model.",
  attempts_exhausted: "Try again; if it keeps failing, choose another model or picture.",
  unreachable: "Check your connection, then try again.",
};

/** Whether the picture itself is refused, so that sending it once more cannot help. */
export const ofPicture = (code) => /^(picture_|payload_too_large|too_many_pixels|not_a_picture|unsupported_format)/.test(code);

/** What a person can do about a problem document; "" where its detail says it, as those of the service's probe do. */
export function advice(problem) {
  if (problem.type && ofPicture(problem.code)) return "";
  if (problem.retry_after) return `Try again in ${span(Math.max(1, Math.ceil(problem.retry_after)))}.`;
  return ADVICE[problem.code] ?? (problem.status >= 500 ? "Try again in a moment." : "");
}
