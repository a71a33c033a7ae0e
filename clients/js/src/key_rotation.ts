// Rotation of a device key (docs/protocol.md, section 3): both keys sign one request, which is
// repeated until its result is known. It knows no sockets.

import { signed, thumbprint, type DeviceSigner } from "./device_key.js";
import type { PairedDevice } from "./pairing.js";
import { backoff, pause, retryAfterMs } from "./pause.js";
import { detailOf, withDetail } from "./problem.js";

const FIRST_MS = 500;
const MOST_MS = 60_000;
/** Limit for one answer. A socket waits for it and has 60 s to sign again. */
const ANSWER_MS = 15_000;
/** A clock difference above which a refusal may be about the clock; the relay allows 300 s. */
const SKEW_S = 60;

/** The device has no new key, or is not known to have one; use `code`. */
export class KeyRotationError extends Error {
  override name = "KeyRotationError";
  constructor(
    /** The refusal's HTTP status; 0 without an answer. */
    readonly status: number,
    /** The problem's `code`, such as `proof_refused`; `called_off` if it was stopped before. */
    readonly code: string,
    /** Whether the old key is certainly still valid. If not, keep both. */
    readonly settled: boolean,
    /** The relay's explanation, for a log: the field and what it accepts. */
    readonly detail?: string,
  ) {
    super(`the device key is not exchanged: ${status} ${code}${withDetail(detail)}`);
  }
}

export interface KeyRotationOrder {
  device: PairedDevice;
  /** The key that is valid until now. */
  signer: DeviceSigner;
  /** The new key. Store it in addition to the old one first. */
  next: DeviceSigner;
  /** Gives up waiting: `settled` is false then. */
  signal?: AbortSignal;
  fetch?: typeof fetch;
}

/** The rotation endpoint, from the socket's URL. */
export function keyUrl(socketUrl: string): string {
  return `${socketUrl.replace(/\/v1\/device\/socket$/, "").replace(/^ws/, "http")}/v1/device/key`;
}

/**
 * Asks the relay to replace the device's key by `next`, repeatedly until it has accepted or refused;
 * rejects with a `KeyRotationError`, or with the signer's own error if it fails before anything is
 * sent. For an app without a `DeviceSocket`, which has its own `rotateKey`.
 */
export async function rotateDeviceKey(order: KeyRotationOrder): Promise<void> {
  const { device, signer, next, signal, fetch } = order;
  const exchange = new KeyExchange(device, signer, next, false, fetch);
  const stop = () => exchange.stop();
  signal?.addEventListener("abort", stop, { once: true });
  if (signal?.aborted) stop();
  try {
    await exchange.run();
  } finally {
    signal?.removeEventListener("abort", stop);
  }
}

/** The result of one request. */
type Answer = { taken: true } | { refused: KeyRotationError; date: number } | { unknown: true; waitMs: number };

/** One rotation, to its end. */
export class KeyExchange {
  readonly #url: string;
  readonly #fetch: typeof fetch | undefined;
  readonly #stopped = new AbortController();
  #awake = new AbortController();
  /** Whether the relay may have accepted the new key without an answer that arrived. */
  #begun: boolean;
  /** Added to the clock, in seconds. */
  #skew = 0;
  #settled = false;
  /** Aborts the request in flight. */
  #request: Promise<unknown> = Promise.resolve();

  constructor(
    readonly device: PairedDevice,
    readonly signer: DeviceSigner,
    readonly next: DeviceSigner,
    begun: boolean,
    send?: typeof fetch,
  ) {
    this.#begun = begun;
    this.#url = keyUrl(device.socket_url);
    this.#fetch = send;
  }

  /** Resolves when the relay has accepted the key; rejects when it refuses, or when stopped. */
  async run(): Promise<void> {
    for (let failures = 0, corrected = false; ; failures += 1) {
      if (this.#settled) return;
      if (this.#stopped.signal.aborted) throw new KeyRotationError(0, "called_off", false);
      // Set before the request, so that a call during it is not lost.
      this.#awake = new AbortController();
      const request = this.#ask();
      this.#request = request.catch(() => {});
      const answer = await request;
      if (this.#settled || "taken" in answer) return;
      if ("refused" in answer) {
        const skew = answer.date - Math.floor(Date.now() / 1000);
        // Once: with the relay's clock it may be accepted.
        if (corrected || !(Math.abs(skew - this.#skew) > SKEW_S)) throw answer.refused;
        [corrected, this.#skew] = [true, skew];
        continue;
      }
      const waits = pause(answer.waitMs + backoff(failures, FIRST_MS, MOST_MS), this.#awake.signal);
      await waits.catch(() => {});
    }
  }

  /** Stops, also with a request in flight. */
  async asked(): Promise<void> {
    await this.#request;
  }

  /** The network may be back: repeats the request at once. */
  wake(): void {
    this.#awake.abort();
  }

  /** The relay has welcomed the new key, which is an answer as well. */
  welcomed(): void {
    this.#settled = true;
    this.stop();
  }

  stop(): void {
    this.#stopped.abort();
    this.wake();
  }

  async #ask(): Promise<Answer> {
    const controller = new AbortController();
    const stop = () => controller.abort();
    const timer = setTimeout(stop, ANSWER_MS);
    this.#stopped.signal.addEventListener("abort", stop, { once: true });
    try {
      const body = JSON.stringify(await this.#order());
      if (this.#stopped.signal.aborted) return { unknown: true, waitMs: 0 };
      this.#begun = true;
      const send = this.#fetch ?? fetch;
      const response = await send(this.#url, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body,
        credentials: "omit",
        redirect: "error",
        signal: controller.signal,
      });
      const { status, headers } = response;
      const answer = (await response.json().catch(() => ({}))) as Record<string, unknown>;
      if (status === 200 && answer["jkt"] === (await thumbprint(this.next))) return { taken: true };
      const { code } = answer;
      if (status >= 400 && status < 500 && status !== 408 && status !== 429 && typeof code === "string") {
        const date = Math.floor(Date.parse(headers.get("date") ?? "") / 1000);
        return { refused: new KeyRotationError(status, code, true, detailOf(answer)), date };
      }
      // Too early, or a proxy's answer: the relay's own is yet to come.
      return { unknown: true, waitMs: retryAfterMs(headers.get("retry-after")) };
    } catch (error) {
      // If the signer failed, nothing was sent.
      if (!this.#begun) throw error;
      return { unknown: true, waitMs: 0 };
    } finally {
      clearTimeout(timer);
      this.#stopped.signal.removeEventListener("abort", stop);
    }
  }

  async #order(): Promise<object> {
    const { device, signer, next } = this;
    const [old_jkt, new_jkt] = [await thumbprint(signer), await thumbprint(next)];
    const claims = { aud: this.#url, device_id: device.device_id, old_jkt, new_jkt };
    const iat = Math.floor(Date.now() / 1000) + this.#skew;
    return {
      new_jwk: next.jwk,
      old_proof: await signed(signer, "fido-relay-key-rotation+jwt", claims, iat),
      new_proof: await signed(next, "fido-relay-key-possession+jwt", claims, iat),
    };
  }
}
