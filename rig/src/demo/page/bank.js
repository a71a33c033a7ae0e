// The calls to the bank's own backend, which is the only one that this page talks to.

/** The bank said no, or nothing; in words for the person. */
export class Refused extends Error {
  constructor(status, words) {
    super(words.headline);
    this.status = status;
    this.words = words;
  }
}

export const UNREACHABLE = {
  headline: "The bank does not answer",
  detail: "This page has lost its connection to the bank.",
  advice: "See whether the demo still runs, and start again.",
};

/** What a call may take beyond the time that the bank is asked to hold it. */
const LIMIT_MS = 12000;

async function call(method, path, { ticket, signal, keepalive, limit = LIMIT_MS } = {}) {
  const headers = ticket ? { Authorization: `Bearer ${ticket}` } : {};
  const until = [AbortSignal.timeout(limit), signal].filter(Boolean);
  const options = { method, headers, keepalive, signal: AbortSignal.any(until), cache: "no-store" };
  const response = await fetch(path, options);
  const body = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new Refused(response.status, body?.headline ? body : UNREACHABLE);
  return body;
}

/** Who is signed in, and what waits for them. */
export const account = () => call("GET", "/api/account");

export const signOut = () => call("DELETE", "/api/session");

export const open = (action) => call("POST", `/api/${action}`);

/** The long poll: comes back with news after `since`, or after `wait` seconds; at most in `most` ms. */
export const look = ({ id, ticket, signal, seq }, wait, most = Infinity) => {
  const limit = Math.max(1000, Math.min(LIMIT_MS + wait * 1000, most));
  return call("GET", `/api/ceremonies/${id}?wait=${wait}&since=${seq}`, { ticket, signal, limit });
};

/** How it ended, as the bank itself has checked it; a sign-in that holds signs this browser in. */
export const outcome = ({ id, ticket, signal }) =>
  call("POST", `/api/ceremonies/${id}/outcome`, { ticket, signal });

export const cancel = ({ id, ticket }) => call("DELETE", `/api/ceremonies/${id}`, { ticket });

/**
 * The last word of a page that is closed, left or loaded again. The bank takes the ceremony back
 * unless a page watches it again within seconds.
 */
export const leave = ({ id, ticket }) =>
  call("POST", `/api/ceremonies/${id}/left`, { ticket, keepalive: true });
