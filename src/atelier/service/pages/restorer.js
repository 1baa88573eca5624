/* A picture goes to a restorer and comes back. */

import { Refusal, askPicture, routeOf } from "./client.js";
import { $ } from "./elements.js";
import { measure, sayBusy, sayRefusal, show } from "./result.js";

let model = null;
let file = null;
let numOthers = 0; // files that came with it
let work = new AbortController();

/** Whom the next picture goes to; null: nobody. */
export function choose(described) {
  if (described?.name !== model?.name) work.abort();
  model = described;
  $("restorer").hidden = !model;
  if (!model) return;
  for (const name of ["sigma", "iterations"]) {
    const isSetting = model.settings.includes(name);
    $(`${name}-setting`).hidden = !isSetting;
    $(name).disabled = !isSetting; // else a wrong value that nobody sees would hold the form back
  }
}

function take(files) {
  if (!files.length) return;
  if (!model) {
    sayRefusal(`Choose a model that restores pictures, then give it ${files[0].name}.`);
    return;
  }
  [file] = files;
  numOthers = files.length - 1;
  $("drop").querySelector("strong").textContent = "Choose another picture";
  $("restore").disabled = false;
  $("restore").textContent = `Restore ${file.name}`;
  $("restorer").requestSubmit();
}

async function restore() {
  work.abort();
  work = new AbortController();
  const { signal } = work;
  const asked = model;
  const picture = file;
  sayBusy(`${asked.name} is at work on ${picture.name} …`);
  try {
    const answer = await post(asked, picture, settings(asked), signal);
    const preview = await previewOf(asked, picture, answer, signal);
    const before = await measure(picture);
    if (!signal.aborted) present(asked, picture, answer, before, preview);
  } catch (error) {
    if (signal.aborted) return;
    const reason = error instanceof Refusal ? error.message : String(error);
    sayRefusal(`${asked.name} could not restore ${picture.name}: ${reason}`);
  }
}

function settings(asked) {
  const query = {};
  for (const name of asked.settings) {
    if ($(name).value) query[name] = $(name).value;
  }
  if ($("restorer-format").value) query.format = $("restorer-format").value;
  return query;
}

function post(asked, picture, query, signal) {
  const body = new FormData();
  body.append("file", picture, picture.name);
  return askPicture(routeOf("restore", asked.name, query), { body, signal }, sayBusy);
}

/** The result as the browser can show it: TIFF is asked for once more as PNG. */
async function previewOf(asked, picture, answer, signal) {
  const own = await measure(answer.blob);
  if (own) return own;
  try {
    const query = { ...settings(asked), format: "png" };
    const { blob } = await post(asked, picture, query, signal);
    return await measure(blob);
  } catch (error) {
    if (error instanceof Refusal) return null; // PNG can't hold it; the download stands
    throw error;
  }
}

function present(asked, picture, answer, before, after) {
  const stem = picture.name.replace(/\.[^.]*$/, "");
  const who = asked.name.replace(/[^\w.-]+/g, "-");
  show({
    before,
    after,
    file: answer.blob,
    stem: `${stem}-${who}-v${answer.version}`,
    alt: `${picture.name} after restoration`,
    status: `${asked.name} version ${answer.version} restored ${picture.name}.`,
    caption: caption(picture, before, after),
    facts: [
      ["model", `${asked.name}, version ${answer.version}`],
      ["run", answer.run],
      ["what was done", answer.notes],
      ["left out", numOthers && `${numOthers} more: here one picture at a time is restored`],
      ["time", `${answer.milliseconds} ms, with the way there and back`],
    ],
  });
}

function caption(picture, before, after) {
  if (!after) return "This browser can't show the result. The download holds it.";
  const size = `${after.width} × ${after.height}`;
  if (before) return `Before ${before.width} × ${before.height}, after ${size} pixels.`;
  const kind = picture.type.replace("image/", "").toUpperCase() || "such files";
  return `After, ${size} pixels. This browser can't show ${kind}: there is no before beside it.`;
}

$("restorer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (file) restore();
});
$("file").addEventListener("change", () => {
  take($("file").files);
  $("file").value = ""; // so that the same file can be chosen again
});
document.addEventListener("paste", (event) => take(event.clipboardData.files));
// Everywhere, as a picture dropped beside the field would leave the page otherwise.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  take(event.dataTransfer.files);
});
