// The ladder of a ceremony's steps: which are made, which is next and who makes it, and what
// came of it. Shape and words tell each state; colour only helps.

import { $ } from "./dom.js";

/** The steps in their order: what has happened, what is to be done for it, and who does it. */
const LADDER = [
  ["opened", "Started", "Start", "bank"],
  ["woken", "Your phone was woken", "", "relay"],
  ["sent", "Sent to your phone", "Send it to your phone", "relay"],
  ["delivered", "Shown on your phone", "Show it on your phone", "phone"],
  ["claimed", "Code accepted", "Type the code into the phone", "you"],
  ["challenged", "Challenge made", "Make a challenge for the card", "FIDO2 server"],
  ["card", "Card at the phone", "Hold your card to the phone", "you"],
  ["verifying", "Answer received", "Keep the card still", "you"],
  ["closed", "Finished", "Check the answer", "FIDO2 server"],
];

const SPOKEN = {
  done: ", done",
  next: ", in progress",
  waiting: ", not yet",
  skipped: ", not reached",
  unknown: ", not known",
  bad: "",
};

export const order = (step) => LADDER.findIndex(([name]) => name === step);

export const nameOf = (step) => LADDER.find(([name]) => name === step)?.[1] ?? "";

/** Happens where the app sleeps, and is shown once it has happened. */
const AT_TIMES = ["woken"];

/** What a page of somebody who has not signed in is not shown: it would tell who has a phone. */
const OF_THE_PHONE = ["woken", "sent", "delivered"];

/** A ladder on which nothing has been made. */
export function raise(showsDelivery) {
  const always = LADDER.filter(([step]) => !AT_TIMES.includes(step));
  const shown = always.filter(([step]) => showsDelivery || !OF_THE_PHONE.includes(step));
  $("ladder").replaceChildren(...shown.map(rung));
  set($("ladder").firstElementChild, "next");
}

function part(kind, className, text = "") {
  const element = document.createElement(kind);
  element.className = className;
  element.textContent = text;
  return element;
}

function rung([step, , todo, by]) {
  const li = document.createElement("li");
  li.dataset.step = step;
  li.dataset.state = "waiting";
  const dot = part("span", "dot");
  dot.setAttribute("aria-hidden", "true");
  const text = document.createElement("span");
  text.append(part("span", "name", todo), part("span", "by", by), part("span", "spoken"));
  li.append(dot, text, document.createElement("time"));
  return li;
}

function set(li, state, elapsedMs) {
  li.dataset.state = state;
  const [, done, todo] = LADDER[order(li.dataset.step)];
  const name = { done, bad: "Ended without success" }[state] ?? todo;
  li.querySelector(".name").textContent = name;
  li.querySelector(".spoken").textContent = SPOKEN[state];
  if (state === "next") li.setAttribute("aria-current", "step");
  else li.removeAttribute("aria-current");
  if (elapsedMs === undefined) return;
  const time = li.querySelector("time");
  time.textContent = `${(elapsedMs / 1000).toFixed(elapsedMs < 10000 ? 2 : 1)} s`;
  time.dateTime = `PT${(elapsedMs / 1000).toFixed(3)}S`;
}

/** Puts in the rungs of what does not always happen. */
function extend(steps) {
  for (const [n, entry] of LADDER.entries()) {
    const [step] = entry;
    const rungs = [...$("ladder").children];
    const stands = rungs.some((li) => li.dataset.step === step);
    if (stands || !AT_TIMES.includes(step) || !steps.has(step)) continue;
    rungs.find((li) => order(li.dataset.step) > n).before(rung(entry));
  }
}

/** Brings the ladder to what the view says; who has to make the next step, if there is one. */
export function climb(view) {
  const closed = view.status !== "pending";
  const good = view.status === "succeeded";
  const at = new Map(view.progress.map((entry) => [entry.step, Date.parse(entry.at)]));
  extend(at);
  const opened = at.get("opened");
  const last = Math.max(...[...at.keys()].map(order));
  let turn = null;
  for (const li of $("ladder").children) {
    const { step } = li.dataset;
    const n = order(step);
    if (at.has(step)) {
      set(li, step === "closed" && !good ? "bad" : "done", at.get(step) - opened);
    } else if (closed || n < last) {
      // A step may be left out, such as "card" by an app that does not tell.
      set(li, "skipped");
    } else {
      set(li, turn ? "waiting" : "next");
      turn ??= LADDER[n][3];
    }
  }
  return turn;
}

/** However far it came: this page does not know what became of it. */
export function lose() {
  for (const li of $("ladder").children) {
    if (["waiting", "next"].includes(li.dataset.state)) set(li, "unknown");
  }
}

/** However far it came: it did not end well. */
export function fall() {
  for (const li of $("ladder").children) {
    if (["waiting", "next"].includes(li.dataset.state)) set(li, "skipped");
  }
  set($("ladder").lastElementChild, "bad");
}
