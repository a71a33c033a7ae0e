// What is told to those who hear the page. Each word is added, never written over another: one
// that has not been read out yet is not lost, and none is read twice.

import { $ } from "./dom.js";

/** Words that stay for whoever goes back to them. */
const KEPT = 12;

export function say(text) {
  if (!text) return;
  const word = document.createElement("p");
  word.textContent = text;
  $("live").append(word);
  while ($("live").children.length > KEPT) $("live").firstElementChild.remove();
}

/** Nothing of what was is still of use. */
export function hush() {
  $("live").replaceChildren();
}
