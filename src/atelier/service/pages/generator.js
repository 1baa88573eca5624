/* Images of a GAN, by class and seed. The address says which, so that it can be shared. */

import { writeAddress } from "./address.js";
import { Refusal, askPicture, routeOf } from "./client.js";
import { $ } from "./elements.js";
import { clear, measure, sayBusy, sayRefusal, show } from "./result.js";

const DEFAULTS = { class: "", seed: "0", number: "16", truncation: "" };
let model = null;
let work = new AbortController();

/** Whom the next wish goes to; null: nobody. */
export function choose(described) {
  if (described?.name !== model?.name) work.abort();
  model = described;
  $("generator").hidden = !model;
  if (model) fillClasses();
}

/** Show what an address asks for: the images of its seed, or none if it names none. */
export function fulfil(values) {
  if (!model) return;
  if (!("seed" in values)) {
    work.abort();
    clear();
    return;
  }
  for (const [name, value] of Object.entries(DEFAULTS)) $(name).value = values[name] ?? value;
  if ((values.class ?? "") !== $("class").value) {
    $("class").value = "";
    const known = classNames().join(", ") || "none";
    sayRefusal(`${model.name} has no class ${values.class}; its classes: ${known}.`);
  } else if ($("generator").reportValidity()) {
    generate();
  }
}

function classNames() {
  if (model.class_names.length) return model.class_names;
  return [...Array(model.num_classes).keys()].map(String);
}

function fillClasses() {
  const names = classNames();
  const options = names.map((name) => new Option(name, name));
  const chosen = $("class").value;
  $("class").replaceChildren(new Option("all in turn", ""), ...options);
  $("class").value = names.includes(chosen) ? chosen : "";
  $("class-setting").hidden = !names.length;
}

function submit() {
  const values = { model: model.name };
  for (const name of Object.keys(DEFAULTS)) {
    if ($(name).value) values[name] = $(name).value;
  }
  // A new address comes back by `fulfil`; the same one doesn't.
  if (!writeAddress(values)) generate();
}

async function generate() {
  work.abort();
  work = new AbortController();
  const { signal } = work;
  const asked = model;
  const wish = readWish();
  const what = wordsOf(wish);
  sayBusy(`${asked.name} is at work on ${what} …`);
  try {
    const format = $("generator-format").value;
    const answer = await post(asked, wish, format, signal);
    const preview = (await measure(answer.blob)) ?? (await pngOf(asked, wish, signal));
    if (!signal.aborted) present(asked, wish, what, answer, preview);
  } catch (error) {
    if (signal.aborted) return;
    const reason = error instanceof Refusal ? error.message : String(error);
    sayRefusal(`${asked.name} could not generate ${what}: ${reason}`);
  }
}

function readWish() {
  const wish = { seed: Number($("seed").value), number: Number($("number").value) };
  if ($("class").value) wish.class = $("class").value;
  if ($("truncation").value) wish.truncation = Number($("truncation").value);
  return wish;
}

function wordsOf(wish) {
  const count = wish.number === 1 ? "1 image" : `${wish.number} images`;
  const kind = wish.class === undefined ? "" : ` of ${wish.class}`;
  return `${count}${kind} by seed ${wish.seed}`;
}

function post(asked, wish, format, signal) {
  const options = {
    body: JSON.stringify(wish),
    headers: { "Content-Type": "application/json" },
    signal,
  };
  return askPicture(routeOf("generate", asked.name, { format }), options, sayBusy);
}

async function pngOf(asked, wish, signal) {
  const { blob } = await post(asked, wish, "png", signal);
  return measure(blob);
}

function present(asked, wish, what, answer, after) {
  const who = asked.name.replace(/[^\w.-]+/g, "-");
  const kind = (wish.class ?? "all").replace(/[^\w.-]+/g, "-");
  show({
    before: null,
    after,
    file: answer.blob,
    stem: `${who}-v${answer.version}-${kind}-seed${wish.seed}`,
    alt: `Generated: ${what}`,
    status: `${asked.name} version ${answer.version} generated ${what}.`,
    caption: "This page's address, shared, shows the same images while this version answers.",
    facts: [
      ["model", `${asked.name}, version ${answer.version}`],
      ["run", answer.run],
      ["what was done", answer.notes],
      ["time", `${answer.milliseconds} ms, with the way there and back`],
    ],
  });
}

$("generator").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
$("another").addEventListener("click", () => {
  $("seed").value = Math.floor(1e6 * Math.random());
  $("generator").requestSubmit();
});
