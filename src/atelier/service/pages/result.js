/* The picture that came, before it the one that went, and what is known of both. */

import { $, element } from "./elements.js";

const SMALLEST = 320; // CSS pixels across which a small picture is shown
const EXTENSIONS = {
  "image/png": "png",
  "image/jpeg": "jpg",
  "image/webp": "webp",
  "image/tiff": "tif",
  "image/gif": "gif",
  "image/bmp": "bmp",
};

const addresses = [];

/** The address of a blob, until the next result. */
function addressOf(blob) {
  const address = URL.createObjectURL(blob);
  addresses.push(address);
  return address;
}

/** {address, width, height} of a picture; null where the browser can't show it. */
export function measure(blob) {
  return new Promise((resolve) => {
    const image = new Image();
    const address = addressOf(blob);
    image.onload = () => {
      resolve({ address, width: image.naturalWidth, height: image.naturalHeight });
    };
    image.onerror = () => resolve(null);
    image.src = address;
  });
}

/** Give the memory of pictures back that are not shown any more. */
function forgetAllBut(shown) {
  const stale = addresses.filter((address) => !shown.includes(address));
  stale.forEach((address) => URL.revokeObjectURL(address));
  addresses.splice(0, addresses.length, ...shown);
}

/** Say what is going on, and dim what was there before. */
export function sayBusy(text) {
  $("status").textContent = text;
  $("refusal").textContent = "";
  $("result").setAttribute("aria-busy", "true");
}

/** Say why there is nothing. */
export function sayRefusal(text) {
  clear();
  $("refusal").textContent = text;
}

/** Nothing was asked yet. */
export function clear() {
  $("status").textContent = "";
  $("refusal").textContent = "";
  $("result").hidden = true;
  $("result").removeAttribute("aria-busy");
  forgetAllBut([]);
}

/**
 * Show a result.
 *
 * before, after: of `measure`; null where there is none to be shown.
 * file, stem: the blob to download and its name without extension.
 * status, caption: sentences. facts: pairs of words; those without a value are left out.
 */
export function show({ before, after, file, stem, alt, status, caption, facts }) {
  $("refusal").textContent = "";
  $("status").textContent = status;
  $("stage").hidden = !after;
  if (after) setStage(after, Boolean(before));
  setImage($("after"), after, alt);
  setImage($("before"), after && before, "The picture before");
  $("caption").textContent = caption;
  $("download").href = addressOf(file);
  $("download").download = `${stem}.${EXTENSIONS[file.type] ?? "bin"}`;
  $("download").textContent = `Download ${$("download").download} (${sizeOf(file.size)})`;
  forgetAllBut([before?.address, after?.address, $("download").href].filter(Boolean));
  const lines = facts.filter(([, value]) => value).flatMap(([name, value]) => {
    return [element("dt", name), element("dd", value)];
  });
  $("facts").replaceChildren(...lines);
  $("result").removeAttribute("aria-busy");
  $("result").hidden = false;
  $("result").scrollIntoView({ block: "nearest" }); // on a phone it lies below the form
}

function setStage({ width, height }, compares) {
  const shown = Math.max(width, SMALLEST);
  const figure = $("stage").parentElement;
  figure.style.setProperty("--width", `${shown}px`);
  figure.style.setProperty("--ratio", width / height);
  $("stage").classList.toggle("small", width < SMALLEST);
  $("stage").classList.toggle("compares", compares);
  $("marks").hidden = !compares;
  $("share").hidden = !compares;
  setShare(50);
}

function setImage(image, picture, alt) {
  image.hidden = !picture;
  image.alt = alt;
  if (picture) image.src = picture.address;
}

function setShare(percent) {
  $("share").value = percent;
  moveLine();
}

function moveLine() {
  $("stage").style.setProperty("--share", `${$("share").value}%`);
}

function sizeOf(num_bytes) {
  if (num_bytes < 1e3) return `${num_bytes} bytes`;
  if (num_bytes < 1e6) return `${Math.round(num_bytes / 1e3)} kB`;
  return `${(num_bytes / 1e6).toFixed(1)} MB`;
}

/** Mouse and finger on the picture itself move the slider below it. */
function followPointer(event) {
  if (event.type === "pointermove" && !event.buttons) return;
  if ($("share").hidden) return;
  const box = $("stage").getBoundingClientRect();
  setShare((100 * (event.clientX - box.left)) / box.width);
  if (event.type === "pointerdown") $("stage").setPointerCapture(event.pointerId);
}

$("share").addEventListener("input", moveLine);
$("stage").addEventListener("pointerdown", followPointer);
$("stage").addEventListener("pointermove", followPointer);
