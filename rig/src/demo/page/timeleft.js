// The time that a ceremony has left. The relay tells seconds, never a clock time: this machine's
// clock need not be right. It is seen running and heard only twice.

import { $ } from "./dom.js";
import { say } from "./voice.js";

/** Seconds from which on the page says that it is urgent. */
const SHORT_S = 15;
const HEARD_S = [30, 10];
const TICK_MS = 250;
/** A word from the relay that differs by less is rounding. */
const NEWS_MS = 1500;

export class TimeLeft {
  #deadline = 0;
  #total;
  #shown;
  #timer;

  /** `total` is what the bar is full of. */
  constructor(total, seconds) {
    this.#total = total;
    this.set(seconds);
    this.#tick();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  set(seconds) {
    const deadline = performance.now() + seconds * 1000;
    if (Math.abs(deadline - this.#deadline) > NEWS_MS) this.#deadline = deadline;
  }

  /** Milliseconds since the time was up; negative before that. */
  overdue() {
    return performance.now() - this.#deadline;
  }

  stop() {
    clearInterval(this.#timer);
  }

  #tick() {
    const left = Math.max(0, Math.ceil(-this.overdue() / 1000));
    if (left === this.#shown) return;
    this.#shown = left;
    $("left").textContent = words(left);
    $("bar").value = Math.min(1, left / this.#total);
    $("time").toggleAttribute("data-short", left <= SHORT_S);
    if (HEARD_S.includes(left)) say(`${left} seconds left.`);
  }
}

function words(left) {
  if (left === 0) return "Time is up";
  if (left <= SHORT_S) return `Only ${left} s left`;
  if (left < 60) return `${left} s left`;
  return `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} min left`;
}
