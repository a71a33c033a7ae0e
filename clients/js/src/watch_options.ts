// What a page says to a watch, and what a watch says to a page.

import type { WatchEvent } from "./frames.js";
import { withDetail } from "./problem.js";

/** What a page says of its connection. Nothing of it decides anything: the watch goes on. */
export type WatchState =
  | { kind: "connecting" }
  | { kind: "connected"; road: "events" | "poll" }
  | WatchTrouble
  /** `closed` has settled. */
  | { kind: "over" };

export interface WatchTrouble {
  kind: "trouble";
  /**
   * - `unreachable`: no answer: no network, no relay, a policy of the page (`connect-src`).
   * - `hidden`: the relay's host answers, but the browser withholds the answer from this page. Its
   *   origin is not listed (`fido-relay client change … --page-origin`), or a proxy answers in the
   *   relay's place.
   * - `silent`: a connection that stood brings nothing any more.
   * - `busy`: the relay, or a proxy, answered with `status`: 408, 429 or 5xx.
   */
  why: "unreachable" | "hidden" | "silent" | "busy";
  status?: number;
  /** In a row. */
  failures: number;
  retryInMs: number;
}

export interface WatchOptions {
  /** Calls the watch off: `closed` and the iteration reject with its reason. */
  signal?: AbortSignal;
  /** Told of every event, in order. */
  onEvent?: (event: WatchEvent) => void;
  /** Told of every change of `state`, of trouble and of its end. */
  onState?: (state: WatchState) => void;
  /** Milliseconds after which the watch gives up with a `WatchError`; 15 minutes if nothing is given. */
  deadlineMs?: number;
  /** The number of the last event that is known already. */
  since?: number;
  /**
   * The road that is taken first; the long poll never goes back to events. Without it: events where
   * `fetch` can stream, which React Native's cannot.
   */
  road?: "events" | "poll";
  /** Milliseconds for a stream's first byte: a proxy that holds it back longer buffers. */
  firstByteMs?: number;
  /** The longest first wait after a failure, and the longest of all, in milliseconds. */
  backoff?: { firstMs: number; mostMs: number };
  /** In place of the global one. */
  fetch?: typeof fetch;
}

/** The watch ended without the last event, and asking again would not help. */
export class WatchError extends Error {
  override name = "WatchError";
  constructor(
    /**
     * 401: the ticket is void, also 60 s after the end. 403: the page's origin is not listed. 0: the
     * deadline has passed.
     */
    readonly status: number,
    /** The problem's `code`, such as `unauthorized`; at the deadline the trouble's `why`, or `deadline`. */
    readonly code: string,
    /** What the relay says is wrong, for a log: the field and what it takes. */
    readonly detail?: string,
  ) {
    super(`the ceremony is not watched any more: ${status} ${code}${withDetail(detail)}`);
  }
}
