// What the app shows, and what the person and the card have said: kept until the relay evidently has
// it (docs/protocol.md, section 10). It knows no sockets; that something was lost it learns from
// the relay sending something again.

import type { Answers } from "./answers.js";
import type { AckOf, ChallengeFrame, ClosedFrame, DeclineReason, ErrorFrame, OfferFrame, RelayFrame } from "./frames.js";

/** After a welcome, what is not sent again within this time is over. */
const OPEN_AGAIN_MS = 5_000;
/** An answer under verification outlives the ceremony's time. */
const VERIFYING_MS = 30_000;
const RETRY_MS = 500;
/** Card errors that leave the ceremony open; every other one ends it (docs/protocol.md, section 8). */
const CARD_AGAIN = new Set([600, 601, 604, 607]);

/** Why a prompt is to be taken down without a `closed`. */
export type TakenDown = "time_is_up" | "not_open_any_more" | "claimed_elsewhere" | "already_closed" | "unknown_ceremony";

export type PromptEvent =
  /** Show it and ask for the code; `again` if it is shown already. */
  | { kind: "offer"; offer: OfferFrame; again: boolean }
  /** Show it and ask for the card; `again` if this very challenge is shown or answered already. */
  | { kind: "challenge"; challenge: ChallengeFrame; again: boolean }
  /** The answer is stored. */
  | { kind: "accepted"; ceremonyId: string; attempt: string }
  /** It is over: say how it ended. */
  | { kind: "closed"; closed: ClosedFrame }
  /** Take it down. */
  | { kind: "taken_down"; ceremonyId: string; why: TakenDown }
  /** The relay refused a frame; with `wrong_code` or `code_malformed` ask again. */
  | { kind: "refused"; error: ErrorFrame };

interface Prompt {
  attempt?: string;
  /** `card`: an error of the card that ends the ceremony. */
  said?: { type: "claim" | "decline" | "card"; frame: string };
  timer: ReturnType<typeof setTimeout> | undefined;
  /** By `performance.now()`. */
  until: number;
  /** The socket on which the relay has shown it last. */
  shownOn: number;
}

export class Prompts {
  readonly #send: (frame: string) => void;
  readonly #tell: (event: PromptEvent) => void;
  readonly #prompts = new Map<string, Prompt>();
  /** Also of ceremonies whose prompt is gone. */
  readonly #answers: Answers;
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #socket = 0;
  /** The largest frame that the relay takes, in bytes. */
  #limit = Infinity;

  constructor(answers: Answers, send: (frame: string) => void, tell: (event: PromptEvent) => void) {
    this.#answers = answers;
    this.#send = send;
    this.#tell = tell;
  }

  /**
   * A socket was welcomed that takes frames of so many bytes: what the relay may not have goes out
   * first.
   */
  connected(limit: number): void {
    this.#socket += 1;
    this.#limit = limit;
    for (const [id, { frame }] of this.#answers.entries()) {
      // Sending it would end every socket.
      if (bytesOf(frame) > limit) this.#answers.delete(id);
      else this.#send(frame);
    }
    const socket = this.#socket;
    this.#later(OPEN_AGAIN_MS, () => {
      if (socket !== this.#socket) return;
      for (const [id, prompt] of this.#prompts) {
        const silent = (!prompt.said || prompt.said.type === "card") && !this.#answers.has(id);
        if (silent && prompt.shownOn !== socket) this.#takeDown(id, "not_open_any_more");
      }
    });
  }

  /** A frame about a ceremony. */
  frame(frame: RelayFrame): void {
    if (frame.type === "offer") this.#offered(frame);
    else if (frame.type === "challenge") this.#challenged(frame);
    else if (frame.type === "accepted") {
      this.#tell({ kind: "accepted", ceremonyId: frame.ceremony_id, attempt: frame.attempt });
    } else if (frame.type === "closed") {
      this.#ack(frame.ceremony_id, "closed");
      this.#forget(frame.ceremony_id);
      this.#tell({ kind: "closed", closed: frame });
    } else if (frame.type === "error") this.#refused(frame);
  }

  /** The person typed the code. False if there is nothing that it could be for. */
  claim(ceremonyId: string, code: string): boolean {
    const prompt = this.#prompts.get(ceremonyId);
    if (!prompt || prompt.attempt !== undefined) return false;
    return this.#says(prompt, "claim", { type: "claim", ceremony_id: ceremonyId, code });
  }

  /** The person said no. */
  decline(ceremonyId: string, reason: DeclineReason): boolean {
    const prompt = this.#prompts.get(ceremonyId);
    if (!prompt) return false;
    return this.#says(prompt, "decline", { type: "decline", ceremony_id: ceremonyId, reason });
  }

  /** A card is in the field, or failed with the SDK's number. */
  card(ceremonyId: string, error?: number): boolean {
    const prompt = this.#prompts.get(ceremonyId);
    if (!prompt) return false;
    const what = error === undefined ? { event: "present" } : { event: "error", code: error };
    const frame = JSON.stringify({ type: "card", ceremony_id: ceremonyId, ...what });
    const ends = error !== undefined && error >= 600 && error <= 617 && !CARD_AGAIN.has(error);
    const kept = prompt.said !== undefined || this.#answers.has(ceremonyId);
    // The card is not asked twice for what it has said for good.
    if (ends && prompt.attempt !== undefined && !kept) prompt.said = { type: "card", frame };
    this.#send(frame);
    return true;
  }

  /**
   * The card signed. The SDK's JSON text goes out as it is; a second answer does not. Throws a
   * `RangeError`, and keeps nothing, if it is more than the relay takes.
   */
  answer(ceremonyId: string, attempt: string, credential: string): boolean {
    const prompt = this.#prompts.get(ceremonyId);
    if (prompt?.attempt !== attempt || this.#answers.get(ceremonyId)?.attempt === attempt) return false;
    const parsed: unknown = JSON.parse(credential);
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
      throw new TypeError("a credential is a JSON object");
    }
    const head = JSON.stringify({ type: "answer", ceremony_id: ceremonyId, attempt });
    const frame = `${head.slice(0, -1)},"credential":${credential}}`;
    if (bytesOf(frame) > this.#limit) throw new RangeError(`an answer is at most ${this.#limit} bytes with its frame`);
    if (prompt.said?.type === "card") delete prompt.said;
    this.#answers.set(ceremonyId, { attempt, frame });
    this.#wake(ceremonyId, prompt, prompt.until + VERIFYING_MS);
    this.#send(frame);
    return true;
  }

  /** Forgets every prompt, timers too. */
  stop(): void {
    for (const { timer } of this.#prompts.values()) clearTimeout(timer);
    this.#prompts.clear();
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #offered(offer: OfferFrame): void {
    const id = offer.ceremony_id;
    this.#ack(id, "offer");
    const known = this.#prompts.get(id);
    this.#show(offer);
    // The relay offers what it has not been told.
    if (known?.said && known.said.type !== "card") this.#send(known.said.frame);
    this.#tell({ kind: "offer", offer, again: known !== undefined });
  }

  #challenged(challenge: ChallengeFrame): void {
    const { ceremony_id: id, attempt } = challenge;
    this.#ack(id, "challenge");
    const kept = this.#answers.get(id);
    // Answered, but not shown: by an earlier run of the app.
    const again = this.#prompts.get(id)?.attempt === attempt || kept?.attempt === attempt;
    const prompt = this.#show(challenge);
    prompt.attempt = attempt;
    // What a card said, it said to its own challenge.
    if (prompt.said?.type === "claim" || (prompt.said?.type === "card" && !again)) delete prompt.said;
    if (prompt.said) this.#send(prompt.said.frame);
    // An answer to an earlier challenge is of no more use.
    if (kept && kept.attempt !== attempt) this.#answers.delete(id);
    this.#tell({ kind: "challenge", challenge, again });
  }

  #refused(error: ErrorFrame): void {
    const id = error.ceremony_id;
    const prompt = id === undefined ? undefined : this.#prompts.get(id);
    switch (error.code) {
      case "slow_down":
      case "unavailable":
        this.#later(RETRY_MS * (1 + Math.random()), () => this.#sayAgain(id));
        break;
      case "code_malformed":
      case "wrong_code":
      case "other_ceremony":
      case "too_many_codes":
        if (prompt?.said?.type === "claim") delete prompt.said;
        break;
      case "not_challenged":
      case "already_answered":
        if (id !== undefined) this.#answers.delete(id);
        if (prompt?.said?.type === "card") delete prompt.said;
        break;
      case "claimed_elsewhere":
      case "already_closed":
      case "unknown_ceremony":
        this.#tell({ kind: "refused", error });
        if (id !== undefined) this.#takeDown(id, error.code as TakenDown);
        return;
      default:
    }
    this.#tell({ kind: "refused", error });
  }

  #says(prompt: Prompt, type: "claim" | "decline", frame: object): boolean {
    prompt.said = { type, frame: JSON.stringify(frame) };
    this.#send(prompt.said.frame);
    return true;
  }

  #sayAgain(id?: string): void {
    const every = () => new Set([...this.#answers.ceremonies(), ...this.#prompts.keys()]);
    for (const known of id === undefined ? every() : [id]) {
      for (const kept of [this.#prompts.get(known)?.said, this.#answers.get(known)]) {
        if (kept) this.#send(kept.frame);
      }
    }
  }

  #ack(ceremonyId: string, of: AckOf): void {
    this.#send(JSON.stringify({ type: "ack", ceremony_id: ceremonyId, of }));
  }

  #show(shown: OfferFrame | ChallengeFrame): Prompt {
    const id = shown.ceremony_id;
    const prompt: Prompt = this.#prompts.get(id) ?? { timer: undefined, until: 0, shownOn: 0 };
    this.#prompts.set(id, prompt);
    prompt.shownOn = this.#socket;
    prompt.until = performance.now() + shown.expires_in * 1000;
    this.#wake(id, prompt, prompt.until + (this.#answers.has(id) ? VERIFYING_MS : 0));
    return prompt;
  }

  #wake(id: string, prompt: Prompt, at: number): void {
    clearTimeout(prompt.timer);
    prompt.timer = setTimeout(() => this.#takeDown(id, "time_is_up"), at - performance.now());
  }

  #takeDown(ceremonyId: string, why: TakenDown): void {
    const prompt = this.#prompts.get(ceremonyId);
    if (why === "time_is_up") {
      // The answer stays: the next socket may still hear how it ended.
      clearTimeout(prompt?.timer);
      this.#prompts.delete(ceremonyId);
    } else this.#forget(ceremonyId);
    if (prompt) this.#tell({ kind: "taken_down", ceremonyId, why });
  }

  #forget(ceremonyId: string): void {
    clearTimeout(this.#prompts.get(ceremonyId)?.timer);
    this.#prompts.delete(ceremonyId);
    this.#answers.delete(ceremonyId);
  }

  #later(ms: number, run: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    this.#timers.add(timer);
  }
}

/** How long a frame is on the wire. */
function bytesOf(frame: string): number {
  return new TextEncoder().encode(frame).length;
}
