// The overview: who is signed in, what waits for them, and what went wrong on the way here.

import { $, isolated, keepFocus, pair, title } from "./dom.js";
import * as bank from "./bank.js";

/** Between the tabs of this browser, which have one session between them. */
const tabs = new BroadcastChannel("account");
tabs.onmessage = () => refresh().catch(() => {});

/** Something of the account has changed: every tab looks. */
export async function changed() {
  tabs.postMessage(null);
  await refresh();
}

/** Asks the bank who is here, and shows what they may do. */
export async function refresh() {
  const { customer } = await bank.account();
  $("signed-out").hidden = Boolean(customer);
  $("signed-in").hidden = !customer;
  $("who").hidden = !customer;
  $("choose-title").replaceChildren(
    ...(customer ? ["Good to see you, ", isolated(customer.display_name)] : ["Welcome to Harbour Bank"]),
  );
  $("choose-lead").textContent = customer
    ? "You are signed in with your card. What you approve here, your card signs."
    : "Your card is your key, and your phone reads it. There is no password to remember.";
  $("who-name").textContent = customer?.username ?? "";
  // Nothing of a customer's stays behind on a page that nobody is signed in to.
  const { payment, approved } = customer ?? { payment: { title: "", fields: [] } };
  for (const place of document.querySelectorAll("[data-payment=title]")) {
    place.textContent = payment.title;
  }
  for (const place of document.querySelectorAll("[data-payment=fields]")) {
    place.replaceChildren(...payment.fields.flatMap((f) => pair(f.label, f.value)));
  }
  if (!customer) $("compare").hidden = true;
  $("approve-title").textContent = approved ? "Payment approved" : "A payment waits for you";
  $("approved").hidden = !approved;
  document.querySelector("[data-action=approve]").hidden = Boolean(approved);
  keepFocus();
}

/** Shows the overview; the focus is the caller's to place. */
export function show() {
  $("run").hidden = true;
  $("choose").hidden = false;
  title();
}

/** What did not work. It is heard at once. */
export function problem(words) {
  tell("problem", "notice bad", words.headline, `${words.detail} ${words.advice}`);
}

/** What did, where nothing more is to be said of it. */
export function notice(headline, text) {
  tell("notice", "notice", headline, text);
}

export function clear() {
  $("problem").replaceChildren();
  $("notice").replaceChildren();
}

function tell(place, className, headline, text) {
  clear();
  const box = document.createElement("div");
  const strong = document.createElement("strong");
  const p = document.createElement("p");
  box.className = className;
  strong.textContent = headline;
  p.textContent = text;
  box.append(strong, p);
  $(place).append(box);
}
