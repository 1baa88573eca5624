/* Elements of a page, always by text: nothing that people or data wrote becomes markup. */

/** The element of an id. */
export const $ = (id) => document.getElementById(id);

/** A new element with a text. */
export function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}
