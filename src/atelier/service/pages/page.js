/* Which champions there are, which one is chosen, and whether it is still the same. */

import { readAddress, writeAddress } from "./address.js";
import { getJson } from "./client.js";
import { $, element } from "./elements.js";
import * as generator from "./generator.js";
import * as restorer from "./restorer.js";
import { clear } from "./result.js";

const LOOK_EVERY = 5000; // ms
let models = [];
let chosen = null;

/** Say what is new (`news`) or wrong (`trouble`); readers of screens hear it once. */
function tell(text, place = "news") {
  if ($(place).textContent !== text) $(place).textContent = text;
}

function cardOf(model) {
  const card = element("label", "", "model");
  const radio = document.createElement("input");
  radio.type = "radio";
  radio.name = "model";
  radio.value = model.name;
  radio.checked = model.name === chosen;
  const since = new Date(1000 * model.since).toLocaleString([], {
    dateStyle: "short",
    timeStyle: "short",
  });
  card.append(
    radio,
    element("span", model.name, "name"),
    element("span", abilityOf(model)),
    element("span", `version ${model.version}, since ${since}`, "quiet"),
  );
  return card;
}

function abilityOf(model) {
  const kind = model.channels === 1 ? "grey" : "colour";
  if (model.kind === "gan") {
    return `generates images in ${kind}, ${model.image_size}\u00a0×\u00a0${model.image_size}`;
  }
  if (model.upscale > 1) return `enlarges pictures in ${kind} ${model.upscale}\u00a0times`;
  return `restores pictures in ${kind}`;
}

function listModels() {
  const focused = document.activeElement?.name === "model";
  const legend = $("models").querySelector("legend");
  $("models").replaceChildren(legend, ...models.map(cardOf));
  $("models").hidden = !models.length;
  if (focused) $("models").querySelector(":checked")?.focus();
}

/** Do what the address says. */
function follow() {
  const values = readAddress();
  const named = models.find(({ name }) => name === values.model);
  if (values.model && !named && models.length) {
    tell(`${values.model} is not served here at the moment. Choose another.`);
  }
  const model = named ?? (values.model ? undefined : models[0]);
  if (model?.name !== chosen) clear();
  chosen = model?.name ?? null;
  listModels();
  document.title = chosen ? `${chosen} · Atelier` : "Atelier";
  hand(model);
  generator.fulfil(values);
}

/** Give the form of its kind a model; the other one has none. */
function hand(model) {
  restorer.choose(model?.kind === "restoration" ? model : null);
  generator.choose(model?.kind === "gan" ? model : null);
}

/** Whether other versions answer than are listed here. */
function isChanged(versions) {
  const names = Object.keys(versions);
  return (
    names.length !== models.length ||
    models.some(({ name, version }) => versions[name] !== version)
  );
}

async function look() {
  try {
    const health = await getJson("health", true);
    if (isChanged(health.models)) await refresh();
    tell(troubleOf(health), "trouble");
  } catch {
    tell("The server can't be reached. This page goes on trying.", "trouble");
  }
}

function troubleOf(health) {
  if (health.registry !== "followed") {
    return `Promotions are not followed at the moment: ${health.registry}`;
  }
  return models.length ? "" : "No model has a champion at the moment. This page waits for one.";
}

async function refresh() {
  const before = models.find(({ name }) => name === chosen);
  models = await getJson("models");
  const after = models.find(({ name }) => name === chosen);
  if (!before) {
    tell("");
    follow();
    return;
  }
  listModels();
  hand(after);
  if (!after) tell(`${chosen} has no champion any more. Choose another.`);
  else if (after.version !== before.version) {
    tell(`${chosen} is version ${after.version} from now on; it was version ${before.version}.`);
  }
}

$("models").addEventListener("change", (event) => {
  tell("");
  writeAddress({ model: event.target.value });
});
window.addEventListener("hashchange", follow);

await look();
setInterval(look, LOOK_EVERY);
