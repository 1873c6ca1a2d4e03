// What the page can say about a picture before it is sent.

import { Problem } from "./api.js";
import { bytes } from "./words.js";

const THUMB_PX = 1024; // kept over a reload, for the comparison
const KNOWN = /\.(jpe?g|jfif|png|webp|heic|heif|avif|bmp|tiff?|gif)$/i; // some systems know no type for them

const refuse = (code, title, detail) => new Problem({ code, status: 422, title, detail });

/** A problem that shows without decoding, or null. */
export function refusal(file, limits) {
  if (!file.type.startsWith("image/") && !KNOWN.test(file.name)) {
    return refuse("not_a_picture", "This is not a picture", `${file.name} is ${file.type || "a file of another kind"}.`);
  }
  if (file.size === 0) return refuse("picture_empty", "The file is empty", `${file.name} has no bytes.`);
  if (limits && file.size > limits.max_bytes) {
    const detail = `${file.name} has ${bytes(file.size)}; at most ${bytes(limits.max_bytes)} are accepted.`;
    return refuse("payload_too_large", "The picture is too large", detail);
  }
  return null;
}

/** A problem with the picture's width and height, or null. */
export function sizeRefusal({ width, height }, limits) {
  if (!limits) return null;
  const size = `It measures ${width} × ${height} pixels`;
  if (width * height > limits.max_pixels) {
    const detail = `${size}; at most ${Math.floor(limits.max_pixels / 1e6)} megapixels are accepted.`;
    return refuse("too_many_pixels", "The picture has too many pixels", detail);
  }
  if (Math.max(width, height) > limits.max_side) {
    const detail = `${size}; at most ${limits.max_side} along each side are accepted.`;
    return refuse("too_many_pixels", "The picture has too many pixels", detail);
  }
  return null;
}

/** Loads an address into an image element; null when the browser cannot show it (TIFF, mostly HEIC, damaged files). */
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

/** Width and height as seen, without decoding the pixels; null when the browser cannot read it. */
export function measure(url) {
  return new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve({ width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = () => resolve(null);
    image.src = url;
  });
}

/** A small picture as a data: address, or "" when the browser cannot read it. */
export async function thumbnail(url) {
  const image = await load(url);
  if (!image) return "";
  const scale = Math.min(1, THUMB_PX / Math.max(image.naturalWidth, image.naturalHeight));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/webp", 0.8);
}

/** Any picture as PNG: the only kind that clipboards take. */
export async function asPng(blob) {
  if (blob.type === "image/png") return blob;
  const bitmap = await createImageBitmap(blob);
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** The pictures among what was dropped or pasted. */
export function filesOf(transfer) {
  return [...(transfer?.files ?? [])];
}
