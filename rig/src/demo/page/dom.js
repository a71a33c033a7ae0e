// The page's elements by their names.

export const $ = (id) => document.getElementById(id);

/** The document's title follows what the page shows; the bank's name stays at its end. */
export function title(...parts) {
  document.title = [...parts, "Harbour Bank (demo)"].join(" – ");
}

/** A name within a sentence, isolated: one from right to left does not reorder the sentence. */
export function isolated(text) {
  const bdi = document.createElement("bdi");
  bdi.textContent = text;
  return bdi;
}

/** A name and its value, for a list of them. */
export function pair(name, value) {
  const dt = document.createElement("dt");
  const dd = document.createElement("dd");
  // Each in its own direction, so that neither reorders the other.
  dt.dir = dd.dir = "auto";
  dt.textContent = name;
  dd.textContent = value;
  return [dt, dd];
}

/**
 * A button that is off keeps the focus and its place in the order of tabs, which `disabled` would
 * take from whoever has just pressed it.
 */
export function setOff(button, off) {
  if (off) button.setAttribute("aria-disabled", "true");
  else button.removeAttribute("aria-disabled");
}

export const isOff = (button) => button.getAttribute("aria-disabled") === "true";

/** What the keyboard was at last: an element that is hidden loses it, in some browsers at once. */
let last = null;
addEventListener("focusin", ({ target }) => (last = target));

/**
 * Whoever was on an element that is hidden now goes on at what has taken its place: the keyboard
 * and the screen reader would else begin at the top of the page.
 */
export function keepFocus() {
  const at = document.activeElement === document.body ? last : document.activeElement;
  if (!at || at.checkVisibility()) return;
  [$("headline"), $("ask"), $("choose-title")].find((place) => place.checkVisibility())?.focus();
}
