// Options and state of a watch.

import type { WatchEvent } from "./frames.js";
import { withDetail } from "./problem.js";

/** The state of the connection, for the page to show. It needs no action: the watch continues. */
export type WatchState =
  | { kind: "connecting" }
  | { kind: "connected"; road: "events" | "poll" }
  | WatchTrouble
  /** `closed` has settled. */
  | { kind: "over" };

export interface WatchTrouble {
  kind: "trouble";
  /**
   * - `unreachable`: no answer: no network, no relay, or the page's own policy (`connect-src`).
   * - `hidden`: the relay's host answers, but the browser withholds the answer from this page. Its
   *   origin is not listed (`fido-relay client change … --page-origin`), or a proxy answers instead
   *   of the relay.
   * - `silent`: an open connection delivers nothing.
   * - `busy`: the relay, or a proxy, answered with `status`: 408, 429 or 5xx.
   */
  why: "unreachable" | "hidden" | "silent" | "busy";
  status?: number;
  /** Consecutive failures. */
  failures: number;
  retryInMs: number;
}

export interface WatchOptions {
  /** Aborts the watch: `closed` and the iteration reject with its reason. */
  signal?: AbortSignal;
  /** Receives every event, in order. */
  onEvent?: (event: WatchEvent) => void;
  /** Receives every change of `state`. */
  onState?: (state: WatchState) => void;
  /** Milliseconds after which the watch gives up with a `WatchError`; by default 15 minutes. */
  deadlineMs?: number;
  /** The number of the last known event. */
  since?: number;
  /**
   * The first transport; long polling never returns to events. By default events where `fetch` can
   * stream, which React Native's cannot.
   */
  road?: "events" | "poll";
  /** Milliseconds for a stream's first byte: a proxy that takes longer buffers. */
  firstByteMs?: number;
  /** The longest first wait after a failure, and the longest of all, in milliseconds. */
  backoff?: { firstMs: number; mostMs: number };
  /** Replaces the global `fetch`. */
  fetch?: typeof fetch;
}

/** The watch ended without the last event, and a retry would not help. */
export class WatchError extends Error {
  override name = "WatchError";
  constructor(
    /**
     * 401: the ticket is invalid, also 60 s after the end. 403: the page's origin is not listed. 0: the
     * deadline has passed.
     */
    readonly status: number,
    /** The problem's `code`, such as `unauthorized`; at the deadline the trouble's `why`, or `deadline`. */
    readonly code: string,
    /** The relay's explanation, for a log: the field and what it accepts. */
    readonly detail?: string,
  ) {
    super(`the ceremony is not watched any more: ${status} ${code}${withDetail(detail)}`);
  }
}
