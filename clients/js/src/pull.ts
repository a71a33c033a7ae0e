// The device's HTTP road (docs/protocol.md): the frames of a socket as requests, each with a proof of
// its own, for an app that has just woken or cannot hold a socket. What the frames mean is as it is
// over a socket: `Prompts` decides it for both.

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
/** What an answer may take beyond that. */
const ANSWER_MS = 15_000;
/** The largest frame that a relay takes, unless its operator has set another. */
const FRAME_BYTES = 32 * 1024;
/** Ceremonies that one request may name. */
const SHOWN = 16;
const FIRST_MS = 500;
const MOST_MS = 60_000;
/** An answer that says nothing new and came sooner was not held: the relay is about to stop. */
const HELD_MS = 1_000;
/** Proofs refused in a row after which the relay evidently does not know the device. */
const PROOFS = 5;

/** Why a request brought nothing; go by `code`. */
export class PullError extends Error {
  override name = "PullError";
  constructor(
    /** The refusal's HTTP status; 0 without an answer. */
    readonly status: number,
    /** The problem's `code`, such as `proof_refused`; `unreachable` without an answer. */
    readonly code: string,
    /** With 429 and 503: milliseconds to wait before sending the same again. */
    readonly retryAfterMs: number,
    /** What the relay says is wrong, for a log. */
    readonly detail?: string,
  ) {
    super(`the relay was not asked: ${status} ${code}${withDetail(detail)}`);
  }
}

export type PullEvent =
  | PromptEvent
  /** Something happened to another of the user's devices, or this device's push address is gone; told once. */
  | { kind: "notice"; notice: NoticeFrame }
  /** The relay could not be asked. `pullLoop` asks again after this long; `pullOnce` has rejected. */
  | { kind: "trouble"; error: unknown; retryInMs?: number }
  /** The storage failed. What it should have kept is kept in memory. */
  | { kind: "not_stored"; error: unknown };

export interface DevicePullOptions {
  device: PairedDevice;
  signer: DeviceSigner;
  /** Keeps answers of the card until the relay has them, also when the app is killed. */
  storage?: DeviceStorage;
  /** Told of everything, in order. */
  onEvent: (event: PullEvent) => void;
  /** `notice_id`s that were shown before; they are remembered for seven days. */
  noticed?: Iterable<string>;
  /** In place of the global one. */
  fetch?: typeof fetch;
}

/** What is asked of the relay. */
interface Call {
  method: "GET" | "POST" | "PUT";
  path: string;
  query?: string;
  body?: string;
  holdMs?: number;
  signal?: AbortSignal | undefined;
}

/** A device without a socket. Nothing is asked before the app says so. */
export class DevicePull {
  readonly #options: DevicePullOptions;
  readonly #base: string;
  readonly #answers: Answers;
  readonly #prompts: Prompts;
  readonly #noticed: Set<string>;
  #loaded: Promise<void> | undefined;
  /** The relay's last nonce. */
  #nonce = "";
  /** The state that the last answer named, for as long as nothing was missed since. */
  #since: string | undefined;
  /** Frames go out one after the other, in the order in which they were said. */
  #sending: Promise<void> = Promise.resolve();
  #unsent: unknown;
  /** The request that the relay holds, and the ceremonies that it names. */
  #held: { ends: AbortController; shown: string } | undefined;
  #endedEarly = false;
  #stopped = false;
  /** Ends what is under way. */
  readonly #stopping = new AbortController();

  constructor(options: DevicePullOptions) {
    this.#options = options;
    this.#base = options.device.socket_url.replace(/\/v1\/device\/socket$/, "").replace(/^ws/, "http");
    this.#noticed = new Set(options.noticed);
    this.#answers = new Answers(options.storage, options.device.device_id, (error) => this.#tell({ kind: "not_stored", error }));
    this.#prompts = new Prompts(this.#answers, (frame) => this.#say(frame), (event) => this.#tell(event));
  }

  /** Whether anything is shown, or said and not answered. */
  get isOpen(): boolean {
    return this.#prompts.isOpen;
  }

  /**
   * Asks once, such as when a push has woken the app: resolves when everything that came is told,
   * acknowledged, and what the relay may not have is sent; rejects with a `PullError`.
   */
  async pullOnce(signal?: AbortSignal): Promise<void> {
    this.#since = undefined;
    this.#unsent = undefined;
    await this.#pull(0, signal);
    await this.#sent();
  }

  /**
   * Asks again and again for as long as anything is open, and resolves when nothing is. What passes
   * (no network, 429, 5xx) is told as `trouble`, and asked again; a device that the relay does not
   * know rejects with a `PullError` 401. Call it while the app is on the screen.
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
        // What was lost the relay shows again, or it is kept.
        this.#since = undefined;
        this.#tell({ kind: "trouble", error, retryInMs });
        await pause(retryInMs, signal);
      }
    }
  }

  /** Sets the address by which the device is woken, or removes it. Rejects with a `PullError`. */
  async setPush(push: PushTarget | null): Promise<void> {
    await this.#call({ method: "PUT", path: "/v1/device/push", body: JSON.stringify({ push }) });
  }

  /** The code that the person typed. False if no prompt waits for one. */
  claim(ceremonyId: string, code: string): boolean {
    return this.#prompts.claim(ceremonyId, code);
  }

  /**
   * The person typed a code where no prompt asks for one: an `offer` with `preview` follows, or
   * `refused`, or `unanswered`, each with the name that is given here. Call `pullLoop` then, too.
   */
  typeCode(code: string): string {
    return this.#prompts.typeCode(code);
  }

  /** The person wants what their code found. False if there is no such preview. */
  confirm(ceremonyId: string): boolean {
    return this.#prompts.confirm(ceremonyId);
  }

  /** The person did not ask for the prompts that were held back. Rejects with a `PullError`: it is not kept. */
  async reportNotMe(): Promise<void> {
    const body = JSON.stringify({ type: "decline", reason: "not_me" });
    await this.#call({ method: "POST", path: "/v1/device/decline", body });
  }

  /** The person said no. False if there is no such prompt. */
  decline(ceremonyId: string, reason: DeclineReason): boolean {
    return this.#prompts.decline(ceremonyId, reason);
  }

  /** A card is in the field. */
  cardPresent(ceremonyId: string): boolean {
    return this.#prompts.card(ceremonyId);
  }

  /** The card failed with the SDK's number, 600 to 617. */
  cardFailed(ceremonyId: string, code: number): boolean {
    return this.#prompts.card(ceremonyId, code);
  }

  /** What the card SDK returned, as its JSON text; as `DeviceSocket.answer`. */
  answer(ceremonyId: string, attempt: string, credential: string): boolean {
    return this.#prompts.answer(ceremonyId, attempt, credential);
  }

  /**
   * Ends everything that is under way, and forgets every prompt; kept answers stay in the storage.
   * Call it before the same device opens a socket.
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
      // The listener's own fault is none of the road's.
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
      // Something else is to be asked now.
      this.#endedEarly = ends.signal.aborted;
      if (this.#endedEarly) return;
      throw error;
    } finally {
      this.#held = undefined;
      signal?.removeEventListener("abort", end);
    }
    const { frames, state } = (await response.json()) as { frames: RelayFrame[]; state: string };
    // What is being said meanwhile gets its answer first: the prompt that comes again is no sign that it was lost.
    await this.#quiet();
    if (this.#stopped) return;
    this.#since = state;
    // The relay answers: as the welcome of a socket.
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

  /** Sends a frame after those before it; what is lost is said again with the next pull. */
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
      // The look that is held would not say what was lost, nor how what it does not name has ended.
      if (this.#held && (this.#unsent !== undefined || this.#held.shown !== this.#shown())) this.#held.ends.abort();
    });
  }

  /** Resolves when everything said so far is sent; rejects if something was not. */
  async #sent(): Promise<void> {
    await this.#quiet();
    if (this.#unsent !== undefined) throw this.#unsent;
  }

  /** Resolves when nothing said is on its way. */
  async #quiet(): Promise<void> {
    let sending: Promise<void>;
    do {
      sending = this.#sending;
      await sending;
    } while (sending !== this.#sending);
  }

  /** Asks, and once more with the nonce that a refused proof has brought. */
  async #call(call: Call): Promise<Response> {
    if (this.#stopped) throw new PullError(0, "called_off", 0);
    const nonce = this.#nonce;
    let response = await this.#once(call);
    if (response.status === 401 && this.#nonce !== nonce) response = await this.#once(call);
    // An `error` frame comes with a status of its own, and is an answer.
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
      // The whole answer, while the timer still counts: what is read later is here already.
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

/** A name that no proof had before: chance, the time and a count, as not every platform has better. */
function neverUsed(): string {
  const bytes = new Uint8Array(16);
  const crypto = globalThis.crypto as Crypto | undefined;
  if (crypto?.getRandomValues) return base64url(crypto.getRandomValues(bytes));
  for (let at = 0; at < 16; at += 1) bytes[at] = Math.random() * 256;
  return `${base64url(bytes)}.${Date.now().toString(36)}.${(made += 1).toString(36)}`;
}
