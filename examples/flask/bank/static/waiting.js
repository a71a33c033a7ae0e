// Phase 3: the page watches its ceremony at the relay, with the ticket for this ceremony, and shows the
// steps. Once it is closed, the bank's backend verifies the result: this script decides nothing. It
// uses long polling, which works through every proxy; the package of clients/js streams events and
// falls back to long polling.

// What the user has to do next, by the last step.
const ASKS = {
  opened: "Open the app on your phone and type this code",
  claimed: "One moment: the card service is asked",
  challenged: "Hold your card to the back of the phone, and enter its PIN there",
  card: "Keep the card still at the phone",
  verifying: "Your card has answered. It is being checked",
  closed: "Finished. One moment",
};
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 8000;
// The check of an answer that came in time may end later.
const GRACE_MS = 30_000;
const SHORT_S = 15;
// The wait of a long poll, and the limit for its answer.
const HOLD_S = 20;
const ANSWER_MS = 30_000;

const $ = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const { watch: url, ticket, left: begins } = $("waiting").dataset;
let deadline = performance.now() + begins * 1000;
let last = "opened";
let shown = null;
let over = false;

/** Polls until the ceremony is closed, across interruptions and restarts. */
async function watch() {
  let since = 0;
  let failures = 0;
  while (performance.now() < deadline + GRACE_MS) {
    // After an interruption start from 0, which is answered at once and not at the next step.
    const response = await ask(failures ? 0 : since);
    if (over) return;
    if (response?.ok) {
      const seen = await response.json().catch(() => null);
      if (seen) {
        failures = 0;
        trouble(false);
        since = seen.seq;
        deadline = Math.min(deadline, performance.now() + seen.expires_in * 1000);
        show(seen.progress.map((entry) => entry.step));
        if (seen.status !== "pending") return finish();
        continue;
      }
    }
    // The ticket has expired after its ceremony.
    if (response?.status === 401 || response?.status === 404) return finish();
    trouble(true);
    const asked = Number(response?.headers.get("Retry-After") ?? 0) * 1000;
    const drawn = Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** failures++) * (0.5 + Math.random() / 2);
    await pause(Math.max(Math.min(asked, RETRY_LAST_MS), drawn));
  }
  finish();
}

/** One long poll; null without an answer, also after a dead connection. */
function ask(since) {
  return fetch(`${url}?wait=${HOLD_S}&since=${since}`, {
    headers: { Authorization: `Bearer ${ticket}` },
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    referrerPolicy: "no-referrer",
    signal: AbortSignal.timeout(ANSWER_MS),
  }).catch(() => null);
}

function finish() {
  if (over) return;
  over = true;
  $("finish").requestSubmit();
}

function show(steps) {
  const done = new Set(steps);
  const rungs = [...$("ladder").children];
  const next = rungs.find((rung) => !done.has(rung.dataset.step));
  for (const rung of rungs) {
    const made = done.has(rung.dataset.step);
    rung.dataset.state = made ? "done" : rung === next ? "next" : "waiting";
    rung.querySelector(".state").textContent = made ? ": done" : "";
    if (rung === next) rung.setAttribute("aria-current", "step");
    else rung.removeAttribute("aria-current");
  }
  last = steps.findLast((step) => step in ASKS) ?? last;
  if (last === shown) return;
  // The initial text of the page was already read out.
  if (shown) say(ASKS[last]);
  shown = last;
  $("ask").textContent = ASKS[last];
  // The code was used.
  if ($("code-block")) $("code-block").hidden = done.has("claimed");
}

/** Whether the relay is unreachable: then the user confirms by a button, as without scripts. */
function trouble(is) {
  if (is && $("trouble").hidden) {
    say($("trouble").textContent);
    console.warn(`Is the relay up, and ${location.origin} a --page-origin of the bank's client?`);
  }
  $("trouble").hidden = !is;
  $("finish").classList.toggle("no-script-only", !is);
}

function tick() {
  const left = Math.max(0, Math.ceil((deadline - performance.now()) / 1000));
  const text = left > 0 ? `${left} s left` : "Time is up";
  if (text === $("left").textContent) return;
  $("left").textContent = text;
  $("bar").value = left;
  $("left").parentElement.toggleAttribute("data-short", left <= SHORT_S);
  if (left === 30 || left === 10) say(`${left} seconds left`);
}

/** For screen readers. */
function say(text) {
  $("live").textContent = text;
}

$("cancel").form.addEventListener("submit", () => (over = true));
// A page restored from the browser's cache may show an expired code: reload.
window.addEventListener("pageshow", (event) => event.persisted && location.reload());
tick();
setInterval(tick, 250);
watch();
