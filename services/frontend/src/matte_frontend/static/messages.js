// The page's messages. Nothing here touches the page or the network.

const ordinals = new Intl.PluralRules("en", { type: "ordinal" });
const ORDINAL_SUFFIX = { one: "st", two: "nd", few: "rd", other: "th" };

/** "1.4 MB". */
export function formatBytes(n) {
  if (n < 1e3) return `${n} bytes`;
  if (n < 1e6) return `${Math.round(n / 1e3)} kB`;
  return `${(n / 1e6).toFixed(n < 1e7 ? 1 : 0).replace(/\.0$/, "")} MB`;
}

/** An exact duration: "1 hour", "30 minutes". */
export function formatDuration(seconds) {
  const [n, unit] = seconds >= 5400 || seconds === 3600 ? [Math.round(seconds / 3600), "hour"]
    : seconds >= 60 ? [Math.round(seconds / 60), "minute"] : [Math.round(seconds), "second"];
  return `${n} ${unit}${n === 1 ? "" : "s"}`;
}

/** An estimate: "a moment", "about 12 s". */
function formatEstimate(seconds) {
  if (seconds < 1.5) return "a moment";
  if (seconds < 90) return `about ${Math.round(seconds)} s`;
  if (seconds < 5400) return `about ${Math.round(seconds / 60)} min`;
  return `about ${Math.round(seconds / 3600)} h`;
}

const STAGES = {
  fetch: "Fetching the picture", decode: "Reading the picture", forward: "Finding the subject",
  encode: "Writing the result", store: "Storing the result",
};

/** What an unfinished job is doing, and how long that takes. */
export function jobStatus(job) {
  const left = job.eta === null ? null : Math.max(0, job.eta - (performance.now() - job.etaAt) / 1000);
  switch (job.state) {
    case "waiting": return job.id ? ["Looking for your job", ""] : ["Waiting for the pictures before it", ""];
    case "uploading":
      if (job.sent >= 1) return ["Checking the picture", ""];
      return ["Uploading", `${Math.round(job.sent * 100)} % of ${formatBytes(job.file.size)}`];
    case "queued": {
      const rank = job.ahead + 1;
      const position = job.ahead === null ? "Waiting in line"
        : job.ahead === 0 ? "Next in line" : `${rank}${ORDINAL_SUFFIX[ordinals.select(rank)]} in line`;
      return [(job.retrying ? "Trying once more: " : "") + position, left === null ? "" : formatEstimate(left)];
    }
    case "running": {
      const stage = STAGES[job.stage] ?? "Cutting out the subject";
      return [stage, left === null || left < 1.5 ? "" : `${formatEstimate(left)} left`];
    }
    default: return ["Fetching the result", ""];
  }
}

/** What is known of a version that is not ready: "downloading", "loading", "failed" or "not ready". */
export function versionState({ download }) {
  if (!download) return "not ready";
  if (download.error) return "failed";
  return download.total && download.done >= download.total ? "loading" : "downloading";
}

/**
 * The version that the page waits for: one of the model that becomes the default, or else any that is downloaded.
 * `{ key, text, failed, share }`, or null; `key` changes with each step, `share` (0…1) is null where it is not known.
 */
export function pendingVersion({ models, default_model: answers, pending_default_model: awaited }) {
  const found = models.flatMap((model) => model.versions.map((version) => ({ model: model.name, ...version })))
    .filter(({ ready, download }) => !ready && download);
  const isDefault = ({ model, weight }) => model === awaited && weight > 0;
  const version = found.find(isDefault) ?? found[0];
  if (!version) return null;
  const { model, download: { done, total, error } } = version;
  const state = versionState(version);
  const name = isDefault(version) ? model : `${model} ${version.version}`;
  const size = state === "downloading" && total ? ` (${Math.round(done / 1e6)} of ${formatBytes(total)})` : "";
  const doing = `${name} is being ${state === "loading" ? "loaded" : "downloaded"}${size}`;
  const text = isDefault(version)
    ? error ? `${answers} answers, because ${name} is not available. ${error}` : `${answers} answers while ${doing}.`
    : error ? `${name} is not available. ${error}` : `${doing}.`;
  return { key: `${name} ${state} ${error ?? ""}`, text, failed: Boolean(error), share: size ? done / total : null };
}

/** "512 × 512 · 1.4 MB · grabcut 2.0.0 · 380 ms". */
export function resultFacts({ metadata, result }) {
  const size = formatBytes(result.blob.size);
  if (!metadata) return size;
  const parts = [`${metadata.width} × ${metadata.height}`, size, `${metadata.model} ${metadata.version}`];
  const total = metadata.timings?.total;
  if (total) parts.push(total < 1 ? `${Math.round(total * 1000)} ms` : `${total.toFixed(1)} s`);
  return parts.join(" · ");
}

const NO_SUBJECT_ADVICE = "Nothing stands out from the background. Try a picture with a clear subject, or another model.";
const UNCERTAIN_ADVICE = "The edges are uncertain here: try a sharper or larger picture, or another model.";
const HIGH_UNCERTAINTY = 0.2; // as in matte_core.contracts.job

const isEmpty = ({ metadata }) => metadata?.foreground === "none";

/** "Cut-out ready". */
export function resultTitle(job) {
  if (isEmpty(job)) return "No subject found";
  return job.params.output === "mask" ? "Mask ready" : "Cut-out ready";
}

/** What to look out for in a result, and what to try then; "" for nothing. */
export function resultAdvice(job) {
  if (isEmpty(job)) return NO_SUBJECT_ADVICE;
  return (job.metadata?.uncertainty ?? 0) >= HIGH_UNCERTAINTY ? UNCERTAIN_ADVICE : "";
}

/** File name of a result: "beach photo-mask.webp". */
export function resultName({ name, params, result }) {
  const stem = name.replace(/\.[^.]*$/, "") || "picture";
  const extension = result.blob.type === "image/webp" ? "webp" : "png";
  return `${stem}-${params.output === "mask" ? "mask" : "cutout"}.${extension}`;
}

const ANOTHER = "Choose another picture, or save this one again as JPEG or PNG and send that.";
const ADVICE = {
  payload_too_large: "Save the picture smaller, or as JPEG, and send it again.",
  too_many_pixels: "Scale the picture down and send it again.",
  not_a_picture: ANOTHER,
  picture_empty: ANOTHER,
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

/** Whether a problem is the picture's, so that sending it again cannot help. */
export const isPictureProblem = (code) =>
  /^(picture_|payload_too_large|too_many_pixels|not_a_picture|unsupported_format)/.test(code);

/** What to do about a problem, or "". The service's own problems (with a `type`) of pictures say it in their detail. */
export function advice(problem) {
  if (problem.type && isPictureProblem(problem.code)) return "";
  if (problem.retry_after) return `Try again in ${formatDuration(Math.max(1, Math.ceil(problem.retry_after)))}.`;
  return ADVICE[problem.code] ?? (problem.status >= 500 ? "Try again in a moment." : "");
}
