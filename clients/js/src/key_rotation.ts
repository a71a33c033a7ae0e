// The exchange of a device key (docs/protocol.md, section 3): both keys sign, one request, and the
// same request again for as long as nobody knows what became of it. It knows no sockets.

import { signed, thumbprint, type DeviceSigner } from "./device_key.js";
import type { PairedDevice } from "./pairing.js";
import { backoff, pause, retryAfterMs } from "./pause.js";
import { detailOf, withDetail } from "./problem.js";

const FIRST_MS = 500;
const MOST_MS = 60_000;
/** For one answer. The socket has 60 s to sign anew, and waits for it. */
const ANSWER_MS = 15_000;
/** A clock this far from the relay's is one that a refusal may be about; the relay allows 300 s. */
const SKEW_S = 60;

/** Why a device has no new key (or is not known to have one); go by `code`. */
export class KeyRotationError extends Error {
  override name = "KeyRotationError";
  constructor(
    /** The refusal's HTTP status; 0 without an answer. */
    readonly status: number,
    /** The problem's `code`, such as `proof_refused`; `called_off` if it was stopped before. */
    readonly code: string,
    /** Whether the old key counts for certain. If not, keep both. */
    readonly settled: boolean,
    /** What the relay says is wrong, for a log: the field and what it takes. */
    readonly detail?: string,
  ) {
    super(`the device key is not exchanged: ${status} ${code}${withDetail(detail)}`);
  }
}

export interface KeyRotationOrder {
  device: PairedDevice;
  /** The key that counts until now. */
  signer: DeviceSigner;
  /** The key that shall count. Store it beside the old one before. */
  next: DeviceSigner;
  /** Gives up waiting: `settled` is false then. */
  signal?: AbortSignal;
  fetch?: typeof fetch;
}

/** Where a device's key is exchanged, from where its socket is. */
export function keyUrl(socketUrl: string): string {
  return `${socketUrl.replace(/\/v1\/device\/socket$/, "").replace(/^ws/, "http")}/v1/device/key`;
}

/**
 * Asks the relay to take `next` in place of the device's key, again and again until it has said yes
 * or no; rejects with a `KeyRotationError`, or as a signer does that fails before anything is sent.
 * For an app without a `DeviceSocket`, which has a `rotateKey` of its own.
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

/** What came of one request. */
type Answer = { taken: true } | { refused: KeyRotationError; date: number } | { unknown: true; waitMs: number };

/** One exchange, to its end. */
export class KeyExchange {
  readonly #url: string;
  readonly #fetch: typeof fetch | undefined;
  readonly #stopped = new AbortController();
  #awake = new AbortController();
  /** Whether the relay may have taken the new key without our learning it. */
  #begun: boolean;
  /** Added to the clock, in seconds. */
  #skew = 0;
  #settled = false;
  /** Ends with the request that is under way. */
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

  /** Resolves when the relay has taken the key, and rejects when it will not, or when stopped. */
  async run(): Promise<void> {
    for (let failures = 0, corrected = false; ; failures += 1) {
      if (this.#settled) return;
      if (this.#stopped.signal.aborted) throw new KeyRotationError(0, "called_off", false);
      // Before the request: a call during it must not be lost.
      this.#awake = new AbortController();
      const request = this.#ask();
      this.#request = request.catch(() => {});
      const answer = await request;
      if (this.#settled || "taken" in answer) return;
      if ("refused" in answer) {
        const skew = answer.date - Math.floor(Date.now() / 1000);
        // Once: by the relay's clock it may be accepted.
        if (corrected || !(Math.abs(skew - this.#skew) > SKEW_S)) throw answer.refused;
        [corrected, this.#skew] = [true, skew];
        continue;
      }
      const waits = pause(answer.waitMs + backoff(failures, FIRST_MS, MOST_MS), this.#awake.signal);
      await waits.catch(() => {});
    }
  }

  /** Ends with the request that is under way, whatever comes of it. */
  async asked(): Promise<void> {
    await this.#request;
  }

  /** There may be a network again: asks at once. */
  wake(): void {
    this.#awake.abort();
  }

  /** The relay has welcomed the new key: that is an answer as well. */
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
      // Too early, or somebody else's word: the relay's own is yet to come.
      return { unknown: true, waitMs: retryAfterMs(headers.get("retry-after")) };
    } catch (error) {
      // A signer that fails has sent nothing.
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
