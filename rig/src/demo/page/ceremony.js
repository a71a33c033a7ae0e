// A ceremony on the page: opened by a button, watched with its ticket until it ends. How it ended
// is what the bank says; this page never decides by itself that something was approved.

import { $, isOff, keepFocus, pair, setOff, title } from "./dom.js";
import * as bank from "./bank.js";
import * as code from "./code.js";
import * as tab from "./kept.js";
import * as ladder from "./ladder.js";
import * as overview from "./overview.js";
import * as silence from "./silence.js";
import { TimeLeft } from "./timeleft.js";
import { hush, say } from "./voice.js";

const TITLES = {
  register: "Register a card",
  "sign-in": "Sign in",
  approve: "Approve the payment",
};

// By the last step that was made: what the person has to do, and that in short.
const CODE = ["Type this code into the app on your phone", "Type the code"];
const ASKS = {
  opened: ["Open the app on your phone and type this code", "Type the code"],
  woken: ["Open the app on your phone and type this code", "Type the code"],
  sent: ["Open the app on your phone and type this code", "Type the code"],
  delivered: CODE,
  claimed: ["One moment: the challenge is being made", "One moment"],
  challenged: [
    "Hold your card to the back of the phone, and enter its PIN there",
    "Hold your card to the phone",
  ],
  card: ["Keep the card still at the phone", "Keep the card still"],
  verifying: ["Your card has answered. Checking it…", "Checking"],
  closed: ["Finished. Asking the bank…", "Checking"],
};

/** What the picture beside the words is of; a step that is not here has none. */
const SCENES = {
  opened: "code",
  woken: "code",
  sent: "code",
  delivered: "code",
  challenged: "card",
  card: "card",
};
const TURNS = { you: "Your turn", phone: "Your phone’s turn", bank: "The bank’s turn" };

/** How an ending is marked, by the bank's word for it. */
const TONES = {
  succeeded: "good",
  denied: "bad",
  rejected: "bad",
  failed: "bad",
  expired: "calm",
  cancelled: "calm",
  indeterminate: "caution",
};

/** The bank's answers that say that it does not know this ticket, or not any more. */
const GONE = [401, 403, 404, 410];
const UNHEARD = "No answer came until the time was up.";
const STILL_UNHEARD = "There is still no answer.";
const FORGOTTEN = "The bank does not remember what this page was waiting for.";

/** What is not known of one whose end this page has not heard, and how it comes to be known. */
const UNKNOWN = {
  register: [
    "The card may be registered or not.",
    "Sign in with the card to find out, before you register it again.",
  ],
  "sign-in": ["You may be signed in or not.", "If you are not, start again."],
  approve: [
    "The payment may be approved or not.",
    "See whether it still waits in your overview, before you approve it again.",
  ],
};

const WAIT_S = 25;
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 8000;
/** How long after the end of its time the page goes on asking how it ended. */
const GRACE_MS = 15000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The ceremony on the screen, or null. */
let current = null;
let opening = false;

/** Opens one. `button` started it, and gets the focus back when the person cancels. */
export async function start(action, button) {
  if (opening) return;
  opening = true;
  setOff(button, true);
  try {
    const { rings_in_s: pause, ...opened } = await bank.open(action);
    begin({ ...opened, action, ...(pause && { ringsAt: Date.now() + pause * 1000 }) }, button);
    watch(current);
  } catch (error) {
    leave();
    // Signed out meanwhile, or approved in another tab: then the overview was an old one.
    if ([401, 409].includes(error.status)) await overview.refresh().catch(() => {});
    overview.problem(error.words ?? bank.UNREACHABLE);
    keepFocus();
    if (document.activeElement === document.body) $("choose-title").focus();
  } finally {
    setOff(button, false);
    opening = false;
  }
}

/** Puts one on the screen in the place of any other. */
function begin(opened, button) {
  stop();
  overview.clear();
  const kept = { ...opened, endsAt: opened.endsAt ?? Date.now() + opened.expires_in * 1000 };
  tab.keep(kept);
  const abort = new AbortController();
  current = { ...kept, kept, button, seq: 0, made: 0, abort, signal: abort.signal };
  showCeremony();
}

/** Goes on with the ceremony that this tab showed before it was loaded again, if there is one. */
export async function resume() {
  const opened = tab.kept();
  if (!opened || current) return;
  const view = await bank.look({ ...opened, seq: 0 }, 0).catch(() => null);
  if (current) return;
  begin(opened, document.querySelector(`[data-action="${opened.action}"]`));
  // Before anything is painted: a code that was typed does not show again.
  if (view) show(current, view);
  watch(current);
}

/** Takes back one that no phone shows, and opens another like it. */
export async function restart() {
  if (opening) return;
  const silent = current;
  await start(silent.action, silent.button);
  bank.cancel(silent).catch(() => {});
}

/** Opens one like that which has ended; asks once more about one whose end is not known. */
export function again() {
  return current.unheard ? askAgain(current) : start(current.action, current.button);
}

async function askAgain(ceremony) {
  if (isOff($("again"))) return;
  setOff($("again"), true);
  try {
    if (await conclude(ceremony)) return;
    // It still runs: this machine has slept, or its clock has.
    ceremony.unheard = false;
    ceremony.time = new TimeLeft(ceremony.expires_in, 0);
    $("outcome").hidden = true;
    $("waiting").hidden = false;
    keepFocus();
    watch(ceremony);
  } catch (error) {
    if (current !== ceremony) return;
    endUnknown(ceremony, GONE.includes(error.status) ? FORGOTTEN : STILL_UNHEARD);
  } finally {
    setOff($("again"), false);
  }
}

/** The page goes away, perhaps to come back: the bank gives it a moment. */
export function left() {
  if (!current || $("waiting").hidden) return;
  bank.leave(current).catch(() => {});
  current.abort.abort();
}

/** Leaves the ceremony that is on the screen: nothing that still comes for it is shown. */
function stop() {
  current?.time.stop();
  current?.abort.abort();
  silence.hide();
  tab.forget();
  current = null;
}

/** Back to the overview, without a word of what was. */
export function leave() {
  if ($("run").hidden) return;
  stop();
  hush();
  overview.show();
}

function showCeremony() {
  const { action } = current;
  $("choose").hidden = true;
  $("outcome").hidden = true;
  $("waiting").hidden = false;
  $("run").hidden = false;
  $("trouble").hidden = true;
  setOff($("cancel"), false);
  $("compare").hidden = action !== "approve";
  $("compare-title").textContent = "Your phone must show the same";
  $("run-title").textContent = TITLES[action];
  hush();
  ladder.raise(current.shows_delivery);
  const spoken = code.show(current.code);
  current.time = new TimeLeft(current.expires_in, (current.endsAt - Date.now()) / 1000);
  ask("opened", "phone");
  window.scrollTo(0, 0);
  $("run-title").focus({ preventScroll: true });
  say(current.ringsAt ? $("ask").textContent : `${ASKS.opened[0]}: ${spoken}`);
}

/** What to do now, and whose turn it is. */
function ask(step, turn) {
  if (current.ringsAt && ladder.order(step) < ladder.order("claimed")) return askToWait();
  silence.hide();
  const [long, short] = ASKS[step] ?? ASKS.opened;
  const scene = SCENES[step] ?? "none";
  $("ask").textContent = long;
  $("waiting").dataset.scene = scene;
  // While a code is shown, it is the person who has to act, whatever is on its way meanwhile.
  const yours = scene !== "none";
  $("waiting").dataset.turn = yours ? "you" : "others";
  $("actor").textContent = yours ? TURNS.you : (TURNS[turn] ?? `The ${turn ?? "bank"}’s turn`);
  title(short, TITLES[current.action]);
}

/** The code shows on no phone: there is nothing to do but to wait. */
function askToWait() {
  if (!$("silence").hidden || !$("restart").hidden) return;
  silence.show(current.ringsAt);
  Object.assign($("waiting").dataset, { scene: "none", turn: "others" });
  $("actor").textContent = "Your phone is silent";
  title("Wait", TITLES[current.action]);
}

function show(ceremony, view) {
  const news = view.progress.slice(ceremony.made);
  const last = view.progress.at(-1)?.step ?? "opened";
  const turn = ladder.climb(view);
  if (view.status === "pending") ceremony.time.set(view.expires_in);
  if (news.length === 0) return;
  Object.assign(ceremony, { seq: view.seq, made: view.progress.length });
  if (ladder.order(last) >= ladder.order("claimed")) code.clear();
  setOff($("cancel"), ladder.order(last) >= ladder.order("verifying"));
  const before = $("ask").textContent;
  ask(last, turn);
  keepFocus();
  const made = news.map(({ step }) => `${ladder.nameOf(step)}.`);
  const now = $("ask").textContent;
  // The end is heard with its headline. The code has been heard; going on with it needs no word.
  if (last === "closed") return;
  if (now !== before && ladder.order(last) >= ladder.order("claimed")) made.push(now);
  say(made.join(" "));
}

/** The long poll, until there is an outcome. */
async function watch(ceremony) {
  let retry = RETRY_FIRST_MS;
  while (current === ceremony) {
    try {
      const view = await bank.look(ceremony, WAIT_S, GRACE_MS - ceremony.time.overdue());
      if (current !== ceremony) return;
      if (!$("trouble").hidden) say("Connected again.");
      $("trouble").hidden = true;
      retry = RETRY_FIRST_MS;
      show(ceremony, view);
      if (view.status !== "pending" && (await conclude(ceremony))) return;
    } catch (error) {
      // Aborted with the page itself: there is nobody to tell of it.
      if (current !== ceremony || ceremony.signal.aborted) return;
      // The ticket is no longer good: only the backend can still tell.
      if (GONE.includes(error.status)) {
        const told = await conclude(ceremony).catch((refused) => refused);
        if (told === true || current !== ceremony) return;
        if (GONE.includes(told.status)) return endUnknown(ceremony, FORGOTTEN);
      }
      // It has ended, and trying for ever would tell nobody how.
      if (ceremony.time.overdue() > GRACE_MS) return endUnknown(ceremony, UNHEARD);
      showTrouble();
      await pause(retry);
      retry = Math.min(retry * 2, RETRY_LAST_MS);
    }
  }
}

function showTrouble() {
  if ($("trouble").hidden) say($("trouble").textContent);
  $("trouble").hidden = false;
}

/** Asks the backend, which alone can tell; whether there is an end. */
async function conclude(ceremony) {
  const told = await bank.outcome(ceremony);
  if (current !== ceremony) return true;
  if (told.verdict === "pending") return false;
  // A sign-in has changed who is here, an approval what waits.
  if (told.verdict === "approved") await overview.changed().catch(() => {});
  if (current !== ceremony) return true;
  if (told.outcome === "cancelled" && ceremony.cancelling) backFrom(ceremony, told.words);
  else end(told);
  return true;
}

/** Whoever cancels wants to be where they were, and not to read a page about it. */
function backFrom({ button }, { headline, detail }) {
  leave();
  // The button may be gone: the person signed in or out in another tab.
  (button.checkVisibility() ? button : $("choose-title")).focus();
  overview.notice(headline, detail);
}

/** Neither a success nor a failure: this page has not heard how it ended. */
function endUnknown(ceremony, why) {
  const [open, advice] = UNKNOWN[ceremony.action];
  const words = { headline: "We do not know how this ended", detail: `${why} ${open}`, advice };
  end({ verdict: "unknown", words });
  ladder.lose();
  $("compare-title").textContent = "This may have been approved or not";
  ceremony.unheard = why !== FORGOTTEN;
  // It stays with the tab: loaded again, the page asks again.
  if (ceremony.unheard) tab.keep(ceremony.kept);
  $("again").textContent = ceremony.unheard ? "Ask again" : "Start again";
}

function end({ verdict, outcome, words, checked = [] }) {
  current.time.stop();
  silence.hide();
  const good = verdict === "approved";
  tab.forget();
  // A success that the bank could not prove is none.
  const tone = good ? "good" : outcome === "succeeded" ? "caution" : TONES[outcome] ?? "caution";
  $("outcome").dataset.tone = tone;
  if (verdict === "refused") ladder.fall();
  $("headline").textContent = words.headline;
  $("detail").textContent = words.detail;
  $("advice").textContent = words.advice;
  $("advised").hidden = !words.advice;
  $("again").hidden = good;
  $("again").textContent = "Start again";
  $("back").className = good ? "" : "quiet";
  $("back").textContent = good ? "Continue" : "Back to the overview";
  $("proof").hidden = checked.length === 0;
  $("proof").open = false;
  $("checked").replaceChildren(...checked.flatMap(([name, value]) => pair(name, value)));
  title(words.headline, TITLES[current.action]);
  code.clear();
  $("compare-title").textContent = good ? "This is what you approved" : "This was not approved";
  $("waiting").hidden = true;
  $("outcome").hidden = false;
  hush();
  $("headline").focus();
}

export async function cancel() {
  const ceremony = current;
  if (!ceremony || ceremony.cancelling) return;
  if (isOff($("cancel"))) return say("It is too late to cancel: your card has answered.");
  ceremony.cancelling = true;
  setOff($("cancel"), true);
  try {
    await bank.cancel(ceremony);
  } catch (error) {
    // Already closed is what was wanted; the long poll brings it.
    if (current === ceremony && error.status !== 409) {
      ceremony.cancelling = false;
      setOff($("cancel"), false);
      showTrouble();
    }
  }
}

/** Nothing that somebody has left behind is to go on without them. */
export async function abandon() {
  if (current && !$("waiting").hidden) await bank.cancel(current).catch(() => {});
  leave();
}
