// The pause after "That was not me", in which no phone shows what this page asks for: counted down
// in the place of the code, as there is nowhere to type it.

import { $ } from "./dom.js";
import { say } from "./voice.js";

const TICK_MS = 250;

let timer;

/** Counts down to this time of the machine's clock (`Date.now()`). */
export function show(ringsAt) {
  hide();
  const tick = () => {
    const left = Math.ceil((ringsAt - Date.now()) / 1000);
    const over = left <= 0;
    $("ask").textContent = over ? "Start again: your phone can ring" : `Your phone rings again in ${left} s`;
    $("restart").hidden = !over;
    if (!over) return;
    clearInterval(timer);
    $("silence").hidden = true;
    say("Start again: your phone can ring.");
  };
  $("silence").hidden = false;
  timer = setInterval(tick, TICK_MS);
  tick();
}

export function hide() {
  clearInterval(timer);
  $("silence").hidden = true;
  $("restart").hidden = true;
}
