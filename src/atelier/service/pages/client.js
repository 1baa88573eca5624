/* What the page asks of the server, and how its refusals read. */

/** A reason, in words for people. */
export class Refusal extends Error {}

const GONE = "the server can't be reached. Is it still running?";

/** What a GET answers; a status other than 2xx counts as an answer too if `lenient`. */
export async function getJson(path, lenient = false) {
  const response = await send(path, { cache: "no-store" });
  if (!response.ok && !lenient) throw new Refusal(await reasonOf(response));
  return response.json();
}

/**
 * A picture that a model made.
 *
 * A server that is full is asked once more after the time that it names; `tell` is told so.
 * Returns {blob, version, run, notes, milliseconds}.
 */
export async function askPicture(path, options, tell) {
  let began = performance.now();
  let response = await send(path, { method: "POST", ...options });
  if (response.status === 429) {
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    tell(`${await reasonOf(response)} Trying once more in ${seconds} s.`);
    await pause(seconds, options.signal);
    began = performance.now();
    response = await send(path, { method: "POST", ...options });
  }
  if (!response.ok) throw new Refusal(await reasonOf(response));
  const blob = await response.blob();
  return {
    blob,
    version: response.headers.get("X-Model-Version"),
    run: response.headers.get("X-Model-Run"),
    notes: decodeURIComponent(response.headers.get("X-Notes") ?? ""),
    milliseconds: Math.round(performance.now() - began),
  };
}

/** The address of a model's route: its name may hold slashes, which stay. */
export function routeOf(verb, model, query = {}) {
  const path = model.split("/").map(encodeURIComponent).join("/");
  const words = new URLSearchParams(query).toString();
  return `${verb}/${path}${words && "?"}${words}`;
}

async function send(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // A server that refuses a long body hangs up before it is read, which looks the same from here.
    const size = options.body?.get?.("file")?.size ?? 0;
    const hint = size > 5e6 ? ` Or the file, of ${Math.round(size / 1e6)} MB, is too large.` : "";
    throw new Refusal(GONE + hint);
  }
}

async function reasonOf(response) {
  const text = await response.text();
  let detail;
  try {
    detail = JSON.parse(text).detail;
  } catch {
    detail = undefined;
  }
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) return detail.map(mistake).join("\n");
  return `the server answered with status ${response.status} and no reason.`;
}

function mistake({ loc, msg }) {
  const place = loc.filter((part) => !["body", "query", "path"].includes(part)).join(".");
  return place ? `${place}: ${msg}` : msg;
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => reject(signal.reason));
  });
}
