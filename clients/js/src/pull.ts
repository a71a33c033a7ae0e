// Pull (docs/protocol.md, section 16): the frames of a socket as HTTP requests, each with its own
// proof, for an app that has just woken or cannot hold a socket. `Prompts` handles the frames of both.

import { Answers } from "./answers.js";
import { base64url, hashOf, signed, type DeviceSigner } from "./device_key.js";
import type { DeclineReason, NoticeFrame, RelayFrame } from "./frames.js";
import type { PairedDevice } from "./pairing.js";
import { backoff, pause, reasonOf, retryAfterMs } from "./pause.js";
import { detailOf, withDetail } from "./problem.js";
import { Prompts, type PromptEvent } from "./prompts.js";
import type { PushTarget } from "./push.js";
import type { DeviceStorage } from "./storage.js";

/** How long the relay may hold a request while something is open. */
const WAIT_S = 25;
/** How much longer than that an answer may take. */
const ANSWER_MS = 15_000;
/** The default limit of a frame. */
const FRAME_BYTES = 32 * 1024;
/** Ceremonies that one request may name. */
const SHOWN = 16;
const FIRST_MS = 500;
const MOST_MS = 60_000;
/** An unchanged answer that came sooner was not held: the relay is about to stop. */
const HELD_MS = 1_000;
/** Consecutive refused proofs after which the device is considered unknown. */
const PROOFS = 5;

/** A request failed; use `code`. */
export class PullError extends Error {
  override name = "PullError";
  constructor(
    /** The refusal's HTTP status; 0 without an answer. */
    readonly status: number,
    /** The problem's `code`, such as `proof_refused`; `unreachable` without an answer. */
    readonly code: string,
    /** With 429 and 503: milliseconds to wait before sending the same again. */
    readonly retryAfterMs: number,
    /** The relay's explanation, for a log. */
    readonly detail?: string,
  ) {
    super(`the relay was not asked: ${status} ${code}${withDetail(detail)}`);
  }
}

export type PullEvent =
  | PromptEvent
  /** An event of another of the user's devices, or the loss of this device's push address; once. */
  | { kind: "notice"; notice: NoticeFrame }
  /** A request failed. `pullLoop` repeats it after this long; `pullOnce` has rejected. */
  | { kind: "trouble"; error: unknown; retryInMs?: number }
  /** The storage failed; the values are kept in memory. */
  | { kind: "not_stored"; error: unknown };

export interface DevicePullOptions {
  device: PairedDevice;
  signer: DeviceSigner;
  /** Keeps the card's answers until the relay has them, also when the app is killed. */
  storage?: DeviceStorage;
  /** Receives every event, in order. */
  onEvent: (event: PullEvent) => void;
  /** `notice_id`s that were shown before; remembered for seven days. */
  noticed?: Iterable<string>;
  /** Replaces the global `fetch`. */
  fetch?: typeof fetch;
}

/** A request to the relay. */
interface Call {
  method: "GET" | "POST" | "PUT";
  path: string;
  query?: string;
  body?: string;
  holdMs?: number;
  signal?: AbortSignal | undefined;
}

/** A device without a socket. It sends requests only when the app calls it. */
export class DevicePull {
  readonly #options: DevicePullOptions;
  readonly #base: string;
  readonly #answers: Answers;
  readonly #prompts: Prompts;
  readonly #noticed: Set<string>;
  #loaded: Promise<void> | undefined;
  /** The last nonce from the relay. */
  #nonce = "";
  /** The `state` of the last answer, as long as no frame was lost since. */
  #since: string | undefined;
  /** Frames are sent one after the other, in their order. */
  #sending: Promise<void> = Promise.resolve();
  #unsent: unknown;
  /** The request that the relay holds, and the ceremonies that it names. */
  #held: { ends: AbortController; shown: string } | undefined;
  #endedEarly = false;
  #stopped = false;
  /** Aborts the requests in flight. */
  readonly #stopping = new AbortController();

  constructor(options: DevicePullOptions) {
    this.#options = options;
    this.#base = options.device.socket_url.replace(/\/v1\/device\/socket$/, "").replace(/^ws/, "http");
    this.#noticed = new Set(options.noticed);
    this.#answers = new Answers(options.storage, options.device.device_id, (error) => this.#tell({ kind: "not_stored", error }));
    this.#prompts = new Prompts(this.#answers, (frame) => this.#say(frame), (event) => this.#tell(event));
  }

  /** Whether anything is shown, or sent and unanswered. */
  get isOpen(): boolean {
    return this.#prompts.isOpen;
  }

  /**
   * Pulls once, such as when a push has woken the app: resolves when everything received is reported
   * and acknowledged, and what the relay may not have is sent; rejects with a `PullError`.
   */
  async pullOnce(signal?: AbortSignal): Promise<void> {
    this.#since = undefined;
    this.#unsent = undefined;
    await this.#pull(0, signal);
    await this.#sent();
  }

  /**
   * Pulls for as long as anything is open, and resolves when nothing is. Temporary failures (no
   * network, 429, 5xx) are reported as `trouble` and retried; rejects with a `PullError` 401 if the
   * relay does not know the device. Call it while the app is on the screen.
   */
  async pullLoop(signal?: AbortSignal): Promise<void> {
    this.#since = undefined;
    for (let failures = 0, refused = 0; ; ) {
      try {
        this.#unsent = undefined;
        const [began, before] = [performance.now(), this.#since];
        await this.#pull(before === undefined ? 0 : WAIT_S, signal);
        await this.#sent();
        failures = refused = 0;
        if (!this.isOpen || this.#stopped) return;
        const isNews = this.#since !== before;
        const wasHeld = before === undefined || this.#endedEarly || performance.now() - began >= HELD_MS;
        if (!isNews && !wasHeld) await pause(HELD_MS, signal);
      } catch (error) {
        if (signal?.aborted || this.#stopped) throw error;
        if (!(error instanceof PullError)) throw error;
        refused = error.status === 401 ? refused + 1 : 0;
        if (refused === PROOFS) throw error;
        const retryInMs = error.retryAfterMs + backoff(failures, FIRST_MS, MOST_MS);
        failures += 1;
        // A frame that was lost is kept, or the relay shows its prompt again.
        this.#since = undefined;
        this.#tell({ kind: "trouble", error, retryInMs });
        await pause(retryInMs, signal);
      }
    }
  }

  /** Sets the device's push address, or removes it. Rejects with a `PullError`. */
  async setPush(push: PushTarget | null): Promise<void> {
    await this.#call({ method: "PUT", path: "/v1/device/push", body: JSON.stringify({ push }) });
  }

  /** The code that the user typed into a prompt. False if that prompt does not wait for one. */
  claim(ceremonyId: string, code: string): boolean {
    return this.#prompts.claim(ceremonyId, code);
  }

  /**
   * A code that the user typed outside of a prompt: an `offer` with `preview`, `refused` or
   * `unanswered` follows, each with the returned claim id. Also call `pullLoop` then.
   */
  typeCode(code: string): string {
    return this.#prompts.typeCode(code);
  }

  /** The user confirms a preview. False if there is no such preview. */
  confirm(ceremonyId: string): boolean {
    return this.#prompts.confirm(ceremonyId);
  }

  /** The user did not request the held-back prompts. Rejects with a `PullError`: it is not kept. */
  async reportNotMe(): Promise<void> {
    const body = JSON.stringify({ type: "decline", reason: "not_me" });
    await this.#call({ method: "POST", path: "/v1/device/decline", body });
  }

  /** The user declines. False if there is no such prompt. */
  decline(ceremonyId: string, reason: DeclineReason): boolean {
    return this.#prompts.decline(ceremonyId, reason);
  }

  /** The NFC field detected a card. */
  cardPresent(ceremonyId: string): boolean {
    return this.#prompts.card(ceremonyId);
  }

  /** The card failed with this error number of the SDK, 600 to 617. */
  cardFailed(ceremonyId: string, code: number): boolean {
    return this.#prompts.card(ceremonyId, code);
  }

  /** The card SDK's result, as its JSON text; see `DeviceSocket.answer`. */
  answer(ceremonyId: string, attempt: string, credential: string): boolean {
    return this.#prompts.answer(ceremonyId, attempt, credential);
  }

  /**
   * Aborts all requests and drops every prompt; kept answers stay in the storage. Call it before the
   * same device opens a socket.
   */
  stop(): void {
    this.#stopped = true;
    this.#stopping.abort();
    this.#prompts.stop();
    this.#answers.clear(false);
  }

  #tell(event: PullEvent): void {
    try {
      this.#options.onEvent(event);
    } catch (error) {
      // An error of the listener must not affect the requests.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  async #pull(waitS: number, signal?: AbortSignal): Promise<void> {
    this.#loaded ??= this.#answers.load();
    await this.#loaded;
    const isFirst = this.#since === undefined;
    const shown = this.#shown();
    const query = [`wait=${waitS}`];
    if (this.#since !== undefined) query.push(`since=${encodeURIComponent(this.#since)}`);
    if (shown !== "") query.push(`shown=${shown}`);
    const ends = new AbortController();
    const end = () => ends.abort();
    signal?.addEventListener("abort", end, { once: true });
    if (signal?.aborted) throw reasonOf(signal);
    this.#endedEarly = false;
    if (waitS > 0) this.#held = { ends, shown };
    let response: Response;
    try {
      const call = { method: "GET", path: "/v1/device/ceremonies", query: query.join("&") } as const;
      response = await this.#call({ ...call, holdMs: waitS * 1000, signal: ends.signal });
    } catch (error) {
      if (signal?.aborted) throw reasonOf(signal);
      // The query has changed.
      this.#endedEarly = ends.signal.aborted;
      if (this.#endedEarly) return;
      throw error;
    } finally {
      this.#held = undefined;
      signal?.removeEventListener("abort", end);
    }
    const { frames, state } = (await response.json()) as { frames: RelayFrame[]; state: string };
    // Wait for answers to frames in flight: until then a prompt that comes again does not mean that one
    // was lost.
    await this.#quiet();
    if (this.#stopped) return;
    this.#since = state;
    // The relay answers: equivalent to a socket's welcome.
    if (isFirst) this.#prompts.connected(FRAME_BYTES);
    for (const frame of frames) {
      if (frame.type !== "notice") this.#prompts.frame(frame);
      else if (!this.#noticed.has(frame.notice_id)) {
        this.#noticed.add(frame.notice_id);
        this.#tell({ kind: "notice", notice: frame });
      }
    }
  }

  #shown(): string {
    return this.#prompts.ceremonies().sort().slice(0, SHOWN).join(",");
  }

  /** Sends a frame after those before it; a lost one is sent again with the next pull. */
  #say(frame: string): void {
    this.#sending = this.#sending.then(async () => {
      if (this.#stopped || this.#unsent !== undefined) return;
      try {
        const { type, ceremony_id: id } = JSON.parse(frame) as { type: string; ceremony_id?: string };
        const path = id === undefined ? `/v1/device/${type}` : `/v1/device/ceremonies/${id}/${type}`;
        const response = await this.#call({ method: "POST", path, body: frame });
        const text = await response.text();
        if (text !== "" && !this.#stopped) this.#prompts.frame(JSON.parse(text) as RelayFrame);
      } catch (error) {
        this.#unsent = error;
      }
      // The held request would report neither the lost frame nor the end of ceremonies that it does not name.
      if (this.#held && (this.#unsent !== undefined || this.#held.shown !== this.#shown())) this.#held.ends.abort();
    });
  }

  /** Resolves when all frames so far are sent; rejects if one was not. */
  async #sent(): Promise<void> {
    await this.#quiet();
    if (this.#unsent !== undefined) throw this.#unsent;
  }

  /** Resolves when no frame is in flight. */
  async #quiet(): Promise<void> {
    let sending: Promise<void>;
    do {
      sending = this.#sending;
      await sending;
    } while (sending !== this.#sending);
  }

  /** Sends a request, and once more with the nonce of a refused proof. */
  async #call(call: Call): Promise<Response> {
    if (this.#stopped) throw new PullError(0, "called_off", 0);
    const nonce = this.#nonce;
    let response = await this.#once(call);
    if (response.status === 401 && this.#nonce !== nonce) response = await this.#once(call);
    // An `error` frame has its own status, and is an answer.
    if (response.ok || response.headers.get("content-type")?.startsWith("application/json")) return response;
    const problem = (await response.json().catch(() => ({}))) as Record<string, unknown>;
    const code = typeof problem["code"] === "string" ? problem["code"] : "unknown";
    throw new PullError(response.status, code, retryAfterMs(response.headers.get("retry-after")), detailOf(problem));
  }

  async #once({ method, path, query, body, holdMs = 0, signal }: Call): Promise<Response> {
    const { device, signer } = this.#options;
    const url = `${this.#base}${path}`;
    const proof = await signed(signer, "fido-relay-pull+jwt", {
      aud: this.#base,
      htm: method,
      htu: url,
      device_id: device.device_id,
      jti: neverUsed(),
      nonce: this.#nonce,
      body_sha256: await hashOf(signer, body ?? ""),
    });
    const send = this.#options.fetch ?? fetch;
    const ends = new AbortController();
    const end = () => ends.abort();
    const timer = setTimeout(end, ANSWER_MS + holdMs);
    signal?.addEventListener("abort", end, { once: true });
    this.#stopping.signal.addEventListener("abort", end, { once: true });
    if (signal?.aborted) end();
    try {
      const response = await send(query === undefined ? url : `${url}?${query}`, {
        method,
        headers: { Authorization: `DPoP ${proof}`, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
        ...(body === undefined ? {} : { body }),
        credentials: "omit",
        cache: "no-store",
        redirect: "error",
        signal: ends.signal,
      });
      this.#nonce = response.headers.get("dpop-nonce") ?? this.#nonce;
      // Read the whole answer while the timer still runs.
      const text = response.status === 204 ? null : await response.text();
      return new Response(text, { status: response.status, headers: response.headers });
    } catch {
      if (signal?.aborted) throw reasonOf(signal);
      throw new PullError(0, this.#stopped ? "called_off" : "unreachable", 0);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      this.#stopping.signal.removeEventListener("abort", end);
    }
  }
}

let made = 0;

/** A unique `jti` from random numbers, time and a counter, as not every platform has better. */
function neverUsed(): string {
  const bytes = new Uint8Array(16);
  const crypto = globalThis.crypto as Crypto | undefined;
  if (crypto?.getRandomValues) return base64url(crypto.getRandomValues(bytes));
  for (let at = 0; at < 16; at += 1) bytes[at] = Math.random() * 256;
  return `${base64url(bytes)}.${Date.now().toString(36)}.${(made += 1).toString(36)}`;
}
