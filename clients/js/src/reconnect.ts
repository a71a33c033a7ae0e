// When to reconnect, and when not (docs/protocol.md, sections 11 and 13). Pure: events and randomness
// are passed in.

import { backoff } from "./pause.js";

const FIRST_MS = 500;
const MOST_MS = 60_000;
/** A socket that lasted this long resets the count of failures. */
const SETTLED_MS = 10_000;
const LATER_MS = 5_000;
/** Consecutive refused proofs after which the device is considered unknown. */
const PROOFS = 5;

/** How a socket ended, or failed to open. */
export interface SocketEnd {
  /** The close code, if there was one. */
  code?: number;
  /** The upgrade was refused with this HTTP status. Most WebSocket libraries hide it. */
  status?: number;
  /** The refusal's `Retry-After`, in milliseconds. */
  retryAfterMs?: number;
}

/** Why a device socket will not reconnect. */
export type StopReason =
  /** `stop()` was called, or its signal aborted. */
  | "told"
  /** 4403: delete the key, offer to pair again. */
  | "revoked"
  /** 4409: a newer socket of this device took over. */
  | "replaced"
  /** 4426: tell the user to update the app. */
  | "too_old"
  /** Five consecutive refused proofs: offer to pair again. */
  | "unknown_device";

export type NextDial = { waitMs: number } | { stop: StopReason };

const NEVER = new Map<number, StopReason>([
  [4403, "revoked"],
  [4409, "replaced"],
  [4426, "too_old"],
]);
const LATER = new Set([1002, 1003, 1007, 1008, 1009, 1013, 4429]);

/** The state kept between sockets. */
export class Reconnect {
  #failures = 0;
  #refusedProofs = 0;
  readonly #random: () => number;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /**
   * Decides after a socket that was welcomed and lasted `stoodMs` (0: never welcomed). `goawayMs` is
   * the delay that the relay requested, counted from the close.
   */
  after(end: SocketEnd, stoodMs: number, goawayMs?: number): NextDial {
    const code = end.code ?? 0;
    const never = end.status === 426 ? "too_old" : NEVER.get(code);
    if (never) return { stop: never };
    if (stoodMs >= SETTLED_MS) this.#failures = 0;
    if (stoodMs > 0) this.#refusedProofs = 0;
    if (code === 4401) {
      this.#refusedProofs += 1;
      if (this.#refusedProofs >= PROOFS) return { stop: "unknown_device" };
    } else if (code !== 0 && code !== 1005 && code !== 1006) {
      // Another end came in between: no longer five in a row.
      this.#refusedProofs = 0;
    }
    if (goawayMs !== undefined) return { waitMs: goawayMs };
    const chance = backoff(this.#failures, FIRST_MS, MOST_MS, this.#random);
    this.#failures += 1;
    if (end.retryAfterMs) return { waitMs: end.retryAfterMs + chance };
    return { waitMs: chance + (LATER.has(code) || end.status ? LATER_MS : 0) };
  }
}
