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

async function call(method, path, { ticket, signal, keepalive } = {}) {
  const headers = ticket ? { Authorization: `Bearer ${ticket}` } : {};
  const response = await fetch(path, { method, headers, signal, keepalive, cache: "no-store" });
  const body = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) throw new Refused(response.status, body?.headline ? body : UNREACHABLE);
  return body;
}

/** Who is signed in, and what waits for them. */
export const account = () => call("GET", "/api/account");

export const signOut = () => call("DELETE", "/api/session");

export const open = (action) => call("POST", `/api/${action}`);

/** The long poll: comes back with news after `since`, or after `wait` seconds. */
export const look = ({ id, ticket, signal, seq }, wait) =>
  call("GET", `/api/ceremonies/${id}?wait=${wait}&since=${seq}`, { ticket, signal });

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
