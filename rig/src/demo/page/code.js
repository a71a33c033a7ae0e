// The code: read by eyes in two groups of three, by ears digit by digit, and picked up only by
// somebody who means to.

import { $ } from "./dom.js";
import { say } from "./voice.js";

const COPIED_MS = 2500;

/** Shows a code, and gives what is heard of it. */
export function show(code) {
  const halves = [code.slice(0, 3), code.slice(3)];
  halves.forEach((half, n) => ($("code-digits").children[n].textContent = half));
  const spoken = halves.map((half) => [...half].join(" ")).join(", ");
  $("code-spoken").textContent = spoken;
  return spoken;
}

/** Takes it off the page: one that was typed is of no more use to anybody here. */
export function clear() {
  for (const half of $("code-digits").children) half.textContent = "";
  $("code-spoken").textContent = "";
}

/** To the clipboard, because a person asked for it: the phone may be this machine. */
export async function copy() {
  const button = $("copy");
  const before = "Copy the code";
  try {
    await navigator.clipboard.writeText($("code-digits").textContent);
    button.textContent = "Copied";
    say("Copied.");
  } catch {
    getSelection().selectAllChildren($("code-digits"));
    button.textContent = "Marked: copy it yourself";
    say("The code is marked. Copy it with your keyboard.");
  }
  setTimeout(() => (button.textContent = before), COPIED_MS);
}
