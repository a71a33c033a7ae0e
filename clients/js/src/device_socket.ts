// The device socket (docs/protocol.md): one connection at a time, authenticated with the device key,
// reconnected by the protocol's rules until it is stopped or the relay forbids it.

import { Answers } from "./answers.js";
import { signed, type DeviceSigner } from "./device_key.js";
import { dialWebSocket, type Dial, type Line } from "./dial.js";
import type { DeclineReason, NoticeFrame, RelayFrame } from "./frames.js";
import { KeyExchange } from "./key_rotation.js";
import { Liveness } from "./liveness.js";
import type { PairedDevice } from "./pairing.js";
import { Prompts, type PromptEvent } from "./prompts.js";
import { Reconnect, type SocketEnd, type StopReason } from "./reconnect.js";
import type { DeviceStorage } from "./storage.js";

const PROTOCOL = "fido-relay.v1";
/** From connecting to the welcome; the relay itself allows 10 s. */
const WELCOME_MS = 15_000;
/** How long a probe may take to be answered after a pause of the app. */
const WAKE_MS = 5_000;

export type DeviceEvent =
  | PromptEvent
  | { kind: "connected"; connectionId: string }
  | { kind: "disconnected"; end: SocketEnd; retryInMs?: number }
  /** An event about another of the user's devices; reported once. */
  | { kind: "notice"; notice: NoticeFrame }
  /** The new key is valid: delete the old one. */
  | { kind: "key_rotated" }
  /** The relay refused the new key for good: delete it. */
  | { kind: "key_kept"; error: unknown }
  /** The signer failed; the socket reconnects. */
  | { kind: "not_signed"; error: unknown }
  /** The storage failed; the values are kept in memory. */
  | { kind: "not_stored"; error: unknown }
  /** The socket will not reconnect. The last event. */
  | { kind: "stopped"; why: StopReason };

export interface DeviceSocketOptions {
  device: PairedDevice;
  signer: DeviceSigner;
  /**
   * The new key of a rotation that the app began before it was ended, without `key_rotated` or
   * `key_kept`: the socket finds out which of the two keys is valid.
   */
  nextSigner?: DeviceSigner;
  /** Keeps the card's answers until the relay has them, also when the app is killed. */
  storage?: DeviceStorage;
  /** Receives every event, in order. */
  onEvent: (event: DeviceEvent) => void;
  /** By default the platform's own `WebSocket`. */
  dial?: Dial;
  /** Stops the socket. */
  signal?: AbortSignal;
  /** `notice_id`s that were shown before; remembered for seven days. */
  noticed?: Iterable<string>;
  /** Replaces the global `fetch` in `rotateKey`. */
  fetch?: typeof fetch;
}

export class DeviceSocket {
  readonly #options: DeviceSocketOptions;
  readonly #answers: Answers;
  readonly #prompts: Prompts;
  readonly #liveness: Liveness;
  readonly #reconnect = new Reconnect();
  readonly #noticed: Set<string>;
  readonly #onAbort = () => this.stop();
  /** The valid key, as far as is known. */
  #signer: DeviceSigner;
  #exchange: KeyExchange | undefined;
  /** The key that signed the last proof. */
  #proven: DeviceSigner | undefined;
  #line: Line | undefined;
  #welcomedAt: number | undefined;
  #goawayMs: number | undefined;
  #waiting: ReturnType<typeof setTimeout> | undefined;
  /** Connects only after the storage has been read. */
  #loading = false;
  #stopped = false;

  /** Connects at once, or when the storage has been read. */
  constructor(options: DeviceSocketOptions) {
    if (!options.dial && typeof WebSocket === "undefined") {
      throw new TypeError("this platform has no WebSocket: give `dial`, such as dialNode of @fido-relay/client/node");
    }
    this.#options = options;
    this.#signer = options.signer;
    this.#noticed = new Set(options.noticed);
    const { storage } = options;
    this.#answers = new Answers(storage, options.device.device_id, (error) => this.#tell({ kind: "not_stored", error }));
    const send = (frame: string) => {
      // A frame lost here is kept, or the relay asks for it again.
      if (this.#welcomedAt !== undefined) this.#line?.send(frame);
    };
    this.#prompts = new Prompts(this.#answers, send, (event) => this.#tell(event));
    this.#liveness = new Liveness(send, () => this.#leave());
    options.signal?.addEventListener("abort", this.#onAbort, { once: true });
    if (options.signal?.aborted) this.stop();
    else {
      if (options.nextSigner) void this.#settle(options.nextSigner, true);
      if (storage) void this.#load();
      else this.#dial();
    }
  }

  /**
   * Rotates the device key. **Store the key of `next` in addition to the old one first**, and delete one of
   * the two at `key_rotated` (the promise resolves) or `key_kept` (it rejects). Until then both are
   * tried and the request is repeated; prompts continue. It cannot be cancelled: an app that ends in
   * between passes `nextSigner` when it starts again.
   */
  rotateKey(next: DeviceSigner): Promise<void> {
    if (this.#exchange || this.#stopped) {
      return Promise.reject(new TypeError(this.#stopped ? "the socket has stopped" : "another key rotation is not finished yet"));
    }
    return this.#settle(next, false);
  }

  /** The code that the user typed into a prompt. False if that prompt does not wait for one. */
  claim(ceremonyId: string, code: string): boolean {
    return this.#prompts.claim(ceremonyId, code);
  }

  /**
   * A code that the user typed outside of a prompt: an `offer` with `preview`, `refused` or
   * `unanswered` follows, each with the returned claim id.
   */
  typeCode(code: string): string {
    return this.#prompts.typeCode(code);
  }

  /** The user confirms a preview. False if there is no such preview. */
  confirm(ceremonyId: string): boolean {
    return this.#prompts.confirm(ceremonyId);
  }

  /**
   * The user did not request the held-back prompts (`notice` `prompts_held`). False without a
   * connection: it is not kept.
   */
  reportNotMe(): boolean {
    if (this.#welcomedAt === undefined) return false;
    this.#line?.send(JSON.stringify({ type: "decline", reason: "not_me" }));
    return true;
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

  /**
   * The card SDK's result, as its JSON text. It is kept and sent again on every socket until the
   * ceremony is closed. False if that challenge is not open, or was answered before. Throws a
   * `RangeError`, and sends nothing, if it exceeds the relay's limit.
   */
  answer(ceremonyId: string, attempt: string, credential: string): boolean {
    return this.#prompts.answer(ceremonyId, attempt, credential);
  }

  /**
   * The app came to the foreground: connects at once if it waits, and probes an existing
   * connection.
   */
  wake(): void {
    this.#exchange?.wake();
    if (this.#waiting === undefined) return this.#liveness.ask(WAKE_MS);
    clearTimeout(this.#waiting);
    this.#dial();
  }

  /** The network changed: drops the connection, which may be dead, and reconnects at once. */
  redial(): void {
    this.#leave();
    this.wake();
  }

  /** Closes the socket in order and ends it. */
  stop(): void {
    this.#stop("told");
  }

  #settle(next: DeviceSigner, begun: boolean): Promise<void> {
    const { device, fetch } = this.#options;
    const exchange = new KeyExchange(device, this.#signer, next, begun, fetch);
    this.#exchange = exchange;
    const settled = (signer: DeviceSigner, event: DeviceEvent) => {
      this.#signer = signer;
      this.#exchange = undefined;
      if (!this.#stopped) this.#tell(event);
    };
    const done = exchange.run().then(
      () => settled(next, { kind: "key_rotated" }),
      (error: unknown) => {
        settled(exchange.signer, { kind: "key_kept", error });
        throw error;
      },
    );
    // Apps that use the events need not handle the promise.
    done.catch(() => {});
    return done;
  }

  #tell(event: DeviceEvent): void {
    try {
      this.#options.onEvent(event);
    } catch (error) {
      // An error of the listener must not affect the connection.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  async #load(): Promise<void> {
    this.#loading = true;
    await this.#answers.load();
    this.#loading = false;
    if (!this.#stopped) this.#dial();
  }

  /** Drops the connection and ignores its further events. */
  #leave(): void {
    if (this.#loading) return;
    this.#line?.drop();
    this.#ended(this.#line, { code: 1006 });
  }

  #dial(): void {
    this.#waiting = undefined;
    const { device, dial = dialWebSocket } = this.#options;
    let line: Line | undefined;
    const current = () => line !== undefined && line === this.#line;
    try {
      line = dial(device.socket_url, PROTOCOL, {
        text: (message) => {
          if (current()) this.#text(message);
        },
        alive: () => {
          if (current()) this.#liveness.heard();
        },
        ended: (end) => this.#ended(line, end),
      });
    } catch {
      // For example a URL that the platform refuses: handled like any other end.
    }
    this.#line = line;
    this.#liveness.dialled(WELCOME_MS);
    if (!line) this.#ended(line, { code: 1006 });
  }

  #text(message: string): void {
    let frame: RelayFrame;
    try {
      frame = JSON.parse(message) as RelayFrame;
    } catch {
      return;
    }
    if (frame.type === "hello") void this.#prove(frame.nonce);
    else if (frame.type === "reauth") void this.#proveAgain(frame.nonce);
    else if (frame.type === "welcome") {
      this.#welcomedAt = performance.now();
      this.#liveness.welcomed(frame.heartbeat_s);
      const exchange = this.#exchange;
      if (exchange && this.#proven === exchange.next) exchange.welcomed();
      else exchange?.wake();
      this.#prompts.connected(frame.limits.frame_bytes);
      this.#tell({ kind: "connected", connectionId: frame.connection_id });
    } else if (frame.type === "pong") this.#liveness.answered(frame.id);
    else if (frame.type === "goaway") this.#goawayMs = frame.reconnect_in_ms;
    else if (frame.type === "notice") {
      if (this.#noticed.has(frame.notice_id)) return;
      this.#noticed.add(frame.notice_id);
      this.#tell({ kind: "notice", notice: frame });
    } else if (this.#welcomedAt !== undefined) {
      if (frame.type === "error" && frame.ceremony_id === undefined) {
        this.#liveness.answered();
        // Of this client's frames, older relays do not know `ping` only.
        if (frame.code === "unknown_type") return;
      }
      this.#prompts.frame(frame);
    }
  }

  /** During a rotation this is most likely the relay's request for the new key. */
  async #proveAgain(nonce: string): Promise<void> {
    const [line, exchange] = [this.#line, this.#exchange];
    await exchange?.asked();
    if (line !== this.#line) return;
    if (!exchange || exchange !== this.#exchange) return this.#prove(nonce);
    // The request got no answer, and the relay does not answer later proofs on an open socket. It does
    // answer the first proof on a new one, which settles the rotation.
    this.#signer = exchange.next;
    this.redial();
  }

  async #prove(nonce: string): Promise<void> {
    const line = this.#line;
    const signer = this.#signer;
    const { device } = this.#options;
    try {
      // `aud` must be the URL that was dialled, never one from a message.
      const claims = { aud: device.socket_url, nonce, device_id: device.device_id };
      const proof = await signed(signer, "fido-relay-device+jwt", claims);
      if (line !== this.#line) return;
      this.#proven = signer;
      line?.send(JSON.stringify({ type: "auth", proof }));
    } catch (error) {
      if (line !== this.#line) return;
      this.#tell({ kind: "not_signed", error });
      line?.drop();
      this.#ended(line, { code: 1006 });
    }
  }

  #ended(line: Line | undefined, end: SocketEnd): void {
    if (line !== this.#line || this.#waiting !== undefined || this.#stopped) return;
    this.#liveness.end();
    const stood = this.#welcomedAt === undefined ? 0 : Math.max(1, performance.now() - this.#welcomedAt);
    const next = this.#reconnect.after(end, stood, this.#goawayMs);
    this.#line = this.#welcomedAt = this.#goawayMs = undefined;
    const exchange = this.#exchange;
    // Perhaps the other key is valid.
    if (exchange && end.code === 4401) {
      this.#signer = this.#proven === exchange.next ? exchange.signer : exchange.next;
    }
    if ("stop" in next) {
      this.#tell({ kind: "disconnected", end });
      this.#stop(next.stop);
      return;
    }
    this.#waiting = setTimeout(() => this.#dial(), next.waitMs);
    this.#tell({ kind: "disconnected", end, retryInMs: next.waitMs });
  }

  #stop(why: StopReason): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#exchange?.stop();
    this.#liveness.end();
    clearTimeout(this.#waiting);
    this.#waiting = undefined;
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    this.#line?.close();
    this.#line = this.#welcomedAt = undefined;
    this.#prompts.stop();
    // A revoked device's answers are useless; in all other cases the next run of the app sends them.
    this.#answers.clear(why === "revoked" || why === "unknown_device");
    this.#tell({ kind: "stopped", why });
  }
}
