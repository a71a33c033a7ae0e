// The demo bank's page: starts a ceremony, watches it with its ticket, and asks its own backend
// how it ended. It never decides by itself that something was approved.

const LADDER = [
  ["opened", "Started", "bank and relay"],
  ["sent", "Sent to your phone", "relay"],
  ["delivered", "Shown on your phone", "phone"],
  ["claimed", "Code accepted", "phone"],
  ["challenged", "Challenge made", "FIDO2 server"],
  ["card", "Card at the phone", "card"],
  ["verifying", "Answer being checked", "relay"],
  ["closed", "Finished", "relay"],
];

const TITLES = {
  register: "Register a card",
  "sign-in": "Sign in",
  approve: "Approve the payment",
};

// What the person has to do next, by the last step that was made.
const ASKS = {
  opened: "Open the app on your phone and type this code",
  sent: "Open the app on your phone and type this code",
  delivered: "Type this code into the app on your phone",
  claimed: "One moment: the challenge is being made",
  challenged: "Hold your card to the back of the phone, and enter its PIN there",
  card: "Keep the card still at the phone",
  verifying: "Your card has answered. Checking it…",
  closed: "Finished. Asking the bank…",
};

const WAIT_S = 25;
const SHORT_S = 15;
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 8000;
// How long after the end of the ceremony's time the bank may still be asked how it ended.
const GRACE_MS = 15000;

const $ = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The ceremony on the screen, or null. */
let current = null;

class Refused extends Error {
  constructor(status, words) {
    super(words.headline);
    this.status = status;
    this.words = words;
  }
}

const UNREACHABLE = {
  headline: "The bank does not answer",
  detail: "This page has lost its connection to the bank.",
  advice: "See whether the demo still runs, and start again.",
};

async function call(method, path, { ticket, signal } = {}) {
  const headers = ticket ? { Authorization: `Bearer ${ticket}` } : {};
  const response = await fetch(path, { method, headers, signal, cache: "no-store" });
  const body = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new Refused(response.status, body?.headline ? body : UNREACHABLE);
  return body;
}

// ---- the overview ---------------------------------------------------------------------------

function pair(name, value) {
  const dt = document.createElement("dt");
  const dd = document.createElement("dd");
  dt.textContent = name;
  dd.textContent = value;
  return [dt, dd];
}

async function showAccount() {
  const account = await call("GET", "/api/account");
  $("choose-title").textContent = `Good to see you, ${account.display_name}`;
  $("who").textContent = account.username;
  for (const place of document.querySelectorAll("[data-payment=title]")) {
    place.textContent = account.payment.title;
  }
  for (const place of document.querySelectorAll("[data-payment=fields]")) {
    place.replaceChildren(...account.payment.fields.flatMap((f) => pair(f.label, f.value)));
  }
}

function showOverview() {
  stop();
  $("run").hidden = true;
  $("choose").hidden = false;
  document.title = "Harbour Bank (demo)";
}

function showProblem(words) {
  $("problem-headline").textContent = words.headline;
  $("problem-detail").textContent = `${words.detail} ${words.advice}`;
  $("problem").hidden = false;
}

// ---- a ceremony -----------------------------------------------------------------------------

async function start(action) {
  $("problem").hidden = true;
  setBusy(true);
  try {
    const opened = await call("POST", `/api/${action}`);
    stop();
    current = { ...opened, action, seq: 0, done: 0, abort: new AbortController() };
    showCeremony();
    watch(current);
  } catch (error) {
    const repeating = !$("run").hidden;
    if (repeating) showOverview();
    showProblem(error.words ?? UNREACHABLE);
  } finally {
    setBusy(false);
  }
}

function setBusy(busy) {
  for (const button of document.querySelectorAll("[data-action], #again")) button.disabled = busy;
}

/** Leaves the ceremony that is on the screen: nothing that still comes for it is shown. */
function stop() {
  clearInterval(current?.timer);
  current?.abort.abort();
  current = null;
}

function showCeremony() {
  const { action, code, expires_in: left } = current;
  $("choose").hidden = true;
  $("outcome").hidden = true;
  $("waiting").hidden = false;
  $("run").hidden = false;
  $("trouble").hidden = true;
  $("cancel").disabled = false;
  $("compare").hidden = action !== "approve";
  $("run-title").textContent = TITLES[action];
  document.title = `${TITLES[action]} – Harbour Bank (demo)`;

  $("waiting").dataset.code = code ? "shown" : "used";
  const halves = code ? [code.slice(0, 3), code.slice(3)] : ["", ""];
  halves.forEach((half, i) => ($("code-digits").children[i].textContent = half));
  $("code-spoken").textContent = code ? halves.map((half) => [...half].join(" ")).join(", ") : "";
  $("ask").textContent = ASKS.opened;

  $("ladder").replaceChildren(...LADDER.map(rung));
  current.total = left;
  setDeadline(current, left);
  tick(current);
  current.timer = setInterval(tick, 250, current);
  window.scrollTo(0, 0);
  $("run-title").focus({ preventScroll: true });
  say(code ? `Type this code into the app on your phone: ${$("code-spoken").textContent}` : "");
}

function rung([step, name, by]) {
  const li = document.createElement("li");
  li.dataset.step = step;
  li.dataset.state = "waiting";
  const text = document.createElement("span");
  const label = document.createElement("span");
  label.className = "name";
  label.textContent = name;
  const state = document.createElement("span");
  state.className = "spoken";
  const who = document.createElement("span");
  who.className = "by";
  who.textContent = by;
  text.append(label, " ", who, state);
  const time = document.createElement("time");
  li.append(text, time);
  return li;
}

const SPOKEN = {
  done: ", done",
  next: ", in progress",
  waiting: ", not yet",
  skipped: ", not reached",
  bad: ", ended",
};

function setRung(li, state, elapsedMs) {
  li.dataset.state = state;
  if (state === "bad") li.querySelector(".name").textContent = "Ended";
  li.querySelector(".spoken").textContent = SPOKEN[state];
  if (state === "next") li.setAttribute("aria-current", "step");
  else li.removeAttribute("aria-current");
  if (elapsedMs !== undefined) {
    const time = li.querySelector("time");
    time.textContent = `${(elapsedMs / 1000).toFixed(elapsedMs < 10000 ? 2 : 1)} s`;
    time.dateTime = `PT${(elapsedMs / 1000).toFixed(3)}S`;
  }
}

/** Brings the ladder to what the view says. */
function climb(view) {
  const closed = view.status !== "pending";
  const good = view.status === "succeeded";
  const at = new Map(view.progress.map((entry) => [entry.step, Date.parse(entry.at)]));
  const opened = at.get("opened");
  let next = !closed;
  for (const li of $("ladder").children) {
    const { step } = li.dataset;
    if (at.has(step)) {
      setRung(li, step === "closed" && !good ? "bad" : "done", at.get(step) - opened);
    } else if (closed) {
      setRung(li, "skipped");
    } else {
      // A step may be left out, such as "card" by an app that does not tell: only those after
      // the last one made are still to come.
      const passed = [...at.keys()].some((made) => order(made) > order(step));
      setRung(li, passed ? "skipped" : next ? "next" : "waiting");
      if (!passed) next = false;
    }
  }
}

const order = (step) => LADDER.findIndex(([name]) => name === step);

function show(ceremony, view) {
  const last = view.progress.at(-1)?.step ?? "opened";
  climb(view);
  if (view.status === "pending") setDeadline(ceremony, view.expires_in);
  if (order(last) >= order("claimed")) $("waiting").dataset.code = "used";
  if (order(last) >= order("verifying")) $("cancel").disabled = true;
  if (view.seq > ceremony.seq) {
    ceremony.seq = view.seq;
    $("ask").textContent = ASKS[last] ?? ASKS.opened;
    if (order(last) >= order("claimed") && last !== "closed") say(ASKS[last]);
    else if (last === "delivered") say("Your phone shows it now.");
  }
}

/** The long poll, until there is an outcome. */
async function watch(ceremony) {
  const { id, ticket } = ceremony;
  const { signal } = ceremony.abort;
  let retry = RETRY_FIRST_MS;
  while (current === ceremony) {
    try {
      const query = `wait=${WAIT_S}&since=${ceremony.seq}`;
      const view = await call("GET", `/api/ceremonies/${id}?${query}`, { ticket, signal });
      if (current !== ceremony) return;
      $("trouble").hidden = true;
      retry = RETRY_FIRST_MS;
      show(ceremony, view);
      if (view.status !== "pending" && (await conclude(ceremony))) return;
    } catch (error) {
      if (current !== ceremony) return;
      // The ticket is no longer good: only the backend can still tell.
      if ([401, 403, 404, 410].includes(error.status)) {
        if (await conclude(ceremony).catch(() => false)) return;
        return end({ verdict: "refused", words: error.words });
      }
      // Nothing can still come of it: better an honest end than trying for ever.
      if (performance.now() > ceremony.deadline + GRACE_MS) {
        return end({ verdict: "refused", words: UNREACHABLE });
      }
      if ($("trouble").hidden) say($("trouble").textContent);
      $("trouble").hidden = false;
      await pause(retry);
      retry = Math.min(retry * 2, RETRY_LAST_MS);
    }
  }
}

/** Asks the backend, which alone can tell; whether there is an end. */
async function conclude(ceremony) {
  const { id, ticket } = ceremony;
  const { signal } = ceremony.abort;
  const told = await call("GET", `/api/ceremonies/${id}/outcome`, { ticket, signal });
  if (current !== ceremony) return true;
  if (told.verdict === "pending") return false;
  end(told);
  return true;
}

function end({ verdict, words, checked = [] }) {
  clearInterval(current.timer);
  const good = verdict === "approved";
  const outcome = $("outcome");
  if (good) outcome.dataset.good = "";
  else delete outcome.dataset.good;
  if (!good) {
    const closed = $("ladder").lastElementChild;
    if (closed.dataset.state === "done") setRung(closed, "bad");
  }
  $("headline").textContent = words.headline;
  $("detail").textContent = words.detail;
  $("advice").textContent = words.advice;
  $("advice").hidden = !words.advice;
  $("again").hidden = good;
  $("back").className = good ? "" : "quiet";
  $("proof").hidden = checked.length === 0;
  $("proof").open = false;
  $("checked").replaceChildren(...checked.flatMap(([name, value]) => pair(name, value)));
  document.title = `${words.headline} – Harbour Bank (demo)`;
  $("waiting").hidden = true;
  $("compare-title").textContent = good ? "This is what you approved" : "This was not approved";
  outcome.hidden = false;
  $("live").textContent = "";
  $("headline").focus();
}

async function cancel() {
  const ceremony = current;
  if (!ceremony) return;
  $("cancel").disabled = true;
  try {
    await call("DELETE", `/api/ceremonies/${ceremony.id}`, { ticket: ceremony.ticket });
  } catch (error) {
    // Already closed is what was wanted; the long poll brings it.
    if (current === ceremony && error.status !== 409) {
      $("cancel").disabled = false;
      $("trouble").hidden = false;
    }
  }
}

// ---- time left ------------------------------------------------------------------------------

/** The relay tells seconds left, never a clock time: this machine's clock need not be right. */
function setDeadline(ceremony, seconds) {
  const deadline = performance.now() + seconds * 1000;
  // Whole seconds, rounded down: a later word counts only if it is news.
  const news = Math.abs(deadline - (ceremony.deadline ?? 0)) > 1500;
  if (news) ceremony.deadline = deadline;
}

function tick(ceremony) {
  const left = Math.max(0, Math.ceil((ceremony.deadline - performance.now()) / 1000));
  if (left === ceremony.left) return;
  ceremony.left = left;
  $("left").textContent = left > 0 ? `${left} s left` : "Time is up";
  $("bar").value = Math.min(1, left / ceremony.total);
  const time = document.querySelector(".time");
  if (left <= SHORT_S) time.dataset.short = "";
  else delete time.dataset.short;
  if (left === 30 || left === 10) say(`${left} seconds left`);
}

/** For those who hear the page. */
function say(text) {
  $("live").textContent = text;
}

// ---- buttons --------------------------------------------------------------------------------

for (const button of document.querySelectorAll("[data-action]")) {
  button.addEventListener("click", () => start(button.dataset.action));
}
$("cancel").addEventListener("click", cancel);
$("again").addEventListener("click", () => start(current.action));
$("back").addEventListener("click", () => {
  showOverview();
  $("choose-title").focus();
});

showAccount().catch((error) => showProblem(error.words ?? UNREACHABLE));
