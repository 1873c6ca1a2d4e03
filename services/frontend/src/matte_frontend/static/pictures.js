// Pictures in the browser: checks before the upload, thumbnails, PNG for the clipboard.

import { Problem } from "./api.js";
import { formatBytes } from "./messages.js";

const THUMBNAIL_PX = 1024; // kept over a reload, for the comparison
const EXTENSIONS = /\.(jpe?g|jfif|png|webp|heic|heif|avif|bmp|tiff?|gif)$/i; // some systems know no media type for them

/**
 * Resolves to the picture's {width, height}, or to null if the browser cannot read it.
 * Throws a Problem if the service would certainly refuse it. `url` is an object URL of the file.
 */
export async function check(file, url, limits) {
  const refuse = (code, title, detail) => new Problem({ code, status: 422, title, detail });
  if (!file.type.startsWith("image/") && !EXTENSIONS.test(file.name)) {
    throw refuse("not_a_picture", "This is not a picture", `${file.name} is ${file.type || "a file of another kind"}.`);
  }
  if (file.size === 0) throw refuse("picture_empty", "The file is empty", `${file.name} has no bytes.`);
  if (limits && file.size > limits.max_bytes) {
    const detail = `${file.name} has ${formatBytes(file.size)}; at most ${formatBytes(limits.max_bytes)} are accepted.`;
    throw refuse("payload_too_large", "The picture is too large", detail);
  }
  const size = await measure(url);
  if (!size || !limits) return size;
  const { width, height } = size;
  const maximum = width * height > limits.max_pixels ? `${Math.floor(limits.max_pixels / 1e6)} megapixels`
    : Math.max(width, height) > limits.max_side ? `${limits.max_side} along each side` : "";
  if (!maximum) return size;
  const detail = `It measures ${width} × ${height} pixels; at most ${maximum} are accepted.`;
  throw refuse("too_many_pixels", "The picture has too many pixels", detail);
}

/** Width and height after EXIF rotation, without decoding the pixels; null if the browser cannot read the picture. */
function measure(url) {
  return new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve({ width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = () => resolve(null);
    image.src = url;
  });
}

/** A decoded image element, or null if the browser cannot show it (TIFF, mostly HEIC, damaged files). */
export async function load(url) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
    return image;
  } catch {
    return null;
  }
}

function draw(image, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").drawImage(image, 0, 0, width, height);
  return canvas;
}

/** A small WebP as a data: URL, or "" if the browser cannot show the picture. */
export async function thumbnail(url) {
  const image = await load(url);
  if (!image) return "";
  const { naturalWidth, naturalHeight } = image;
  const scale = Math.min(1, THUMBNAIL_PX / Math.max(naturalWidth, naturalHeight));
  const size = [naturalWidth, naturalHeight].map((side) => Math.max(1, Math.round(side * scale)));
  return draw(image, ...size).toDataURL("image/webp", 0.8);
}

/** The picture as PNG, the only format that clipboards take. */
export async function toPng(blob) {
  if (blob.type === "image/png") return blob;
  const bitmap = await createImageBitmap(blob);
  return new Promise((resolve) => draw(bitmap, bitmap.width, bitmap.height).toBlob(resolve, "image/png"));
}
