/* What the address says after its #: which model, and of a GAN which images. */

/** As an object; all values are texts. */
export function readAddress() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

/** A step that the back button undoes. Returns whether the address changed. */
export function writeAddress(values) {
  const hash = `#${new URLSearchParams(values)}`;
  if (hash === location.hash) return false;
  location.hash = hash;
  return true;
}
