/* openapi.json, to be read by people: each route with its parameters and a line for curl. */

import { getJson } from "./client.js";
import { $, element } from "./elements.js";

const VERBS = { "/restore/{model}": "restoration", "/generate/{model}": "gan" };

function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function resolve(schema, api) {
  if (!schema?.$ref) return schema ?? {};
  return schema.$ref.split("/").slice(1).reduce((part, key) => part[key], api);
}

/** What values a parameter takes, in words. */
function typeOf(schema) {
  const choices = (schema.anyOf ?? [schema]).filter(({ type }) => type !== "null");
  return choices.map(rangeOf).join(" or ");
}

function rangeOf(schema) {
  if (schema.enum) return schema.enum.join(", ");
  if (schema.contentMediaType) return "file";
  const bounds = [];
  if (schema.minimum !== undefined) bounds.push(`at least ${schema.minimum}`);
  if (schema.exclusiveMinimum !== undefined) bounds.push(`above ${schema.exclusiveMinimum}`);
  if (schema.maximum !== undefined) bounds.push(`at most ${schema.maximum}`);
  return [schema.type ?? "anything", ...bounds].join(", ");
}

function parameterRow(name, place, schema, isRequired, description = "") {
  const about = [typeOf(schema), place];
  if (isRequired) about.push("required");
  if (schema.default !== undefined) about.push(`default ${JSON.stringify(schema.default)}`);
  const meaning = element("dd", description);
  meaning.append(element("small", about.join(" · "), "quiet"));
  const term = element("dt", "");
  term.append(element("code", name));
  return [term, meaning];
}

function bodyOf(operation, api) {
  const [media, content] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [];
  return { media, schema: resolve(content?.schema, api) };
}

function rowsOf(operation, api) {
  const { media, schema } = bodyOf(operation, api);
  const place = media === "application/json" ? "in the JSON body" : "in the form";
  const inBody = Object.entries(schema.properties ?? {}).flatMap(([name, property]) => {
    const isRequired = (schema.required ?? []).includes(name);
    return parameterRow(name, place, property, isRequired, property.description);
  });
  const outside = (operation.parameters ?? []).flatMap((parameter) => {
    const place = parameter.in === "path" ? "in the path" : "in the query, after ?";
    const isRequired = parameter.required;
    return parameterRow(parameter.name, place, parameter.schema, isRequired, parameter.description);
  });
  return [...outside, ...inBody];
}

function curlOf(path, operation, api, models) {
  const base = new URL(".", location.href).href.replace(/\/$/, "");
  const model = models.find(({ kind }) => kind === VERBS[path])?.name ?? "MODEL";
  const address = quote(base + path.replace("{model}", encodeURI(model)));
  const { media, schema } = bodyOf(operation, api);
  if (media === "multipart/form-data") {
    return `curl --fail-with-body -F file=@picture.png ${address} -o restored.png`;
  }
  if (media === "application/json") {
    const set = Object.entries(schema.properties).filter(([, { default: value }]) => value);
    const wish = Object.fromEntries(set.map(([name, property]) => [name, property.default]));
    const body = quote(JSON.stringify({ seed: 0, ...wish }));
    const head = quote("Content-Type: application/json");
    return `curl --fail-with-body -H ${head} -d ${body} ${address} -o generated.png`;
  }
  return `curl ${address}`;
}

function routeSection(path, verb, operation, api, models) {
  const section = document.createElement("section");
  const title = element("h2", "");
  title.append(element("span", verb.toUpperCase(), "verb"), " ", element("code", path));
  section.append(title, element("p", operation.description ?? operation.summary));
  section.append(element("pre", curlOf(path, operation, api, models)));
  const rows = rowsOf(operation, api);
  if (rows.length) {
    const list = element("dl", "", "parameters");
    list.append(...rows);
    section.append(list);
  }
  return section;
}

function mistakes() {
  const section = document.createElement("section");
  section.append(
    element("h2", "When something is wrong"),
    element(
      "p",
      'The answer is {"detail": reason}: 404 for a model that is not served, 409 for one of the ' +
        "other kind, 413 for too many bytes or pixels, 422 for values and pictures that can't be " +
        "used (there the detail may be a list, with a place and a reason each), 429 when the " +
        "server is full (Retry-After says after how many seconds to ask again), 503 while a " +
        "model has no champion.",
    ),
    element(
      "p",
      "Pictures come with X-Model, X-Model-Version and X-Model-Run, who answered, and X-Notes, " +
        "what was done to the picture (percent-encoded).",
    ),
  );
  return section;
}

try {
  const [api, models] = await Promise.all([getJson("openapi.json"), getJson("models")]);
  const sections = Object.entries(api.paths).flatMap(([path, verbs]) =>
    Object.entries(verbs).map(([verb, operation]) => {
      return routeSection(path, verb, operation, api, models);
    }),
  );
  $("routes").replaceChildren(...sections, mistakes());
} catch (error) {
  $("news").textContent = `The routes can't be shown: ${error.message}`;
}
