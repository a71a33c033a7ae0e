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
/** A code that was typed alone waits so long for its answer: pages show a code for about as long. */
const TYPED_MS = 120_000;
/** Card errors that leave the ceremony open; every other one ends it (docs/protocol.md, section 8). */
const CARD_AGAIN = new Set([600, 601, 604, 607]);

/** Why a prompt is to be taken down without a `closed`. */
export type TakenDown = "time_is_up" | "not_open_any_more" | "claimed_elsewhere" | "already_closed" | "unknown_ceremony";

/** How a code found the ceremony that is offered. */
export interface Preview {
  /** Whether phones were asked for it beforehand. */
  rang: boolean;
  /** Whether the user succeeded before in the browser that asks. */
  knownBrowser: boolean;
  /** The person said "not me" a short while ago: warn before the confirmation. */
  afterNotMe: boolean;
  /** Whether `confirm` knows the code; if not, ask for it as for any offer. */
  typed: boolean;
}

export type PromptEvent =
  /**
   * Show it and ask for the code; `again` if it is shown already. With `preview` it was found by a
   * code that was typed: show who asks and what for, and `confirm` if the person says so.
   */
  | { kind: "offer"; offer: OfferFrame; again: boolean; preview?: Preview }
  /** The code that was typed into this prompt was another ceremony's, which is previewed: ask again. */
  | { kind: "ask_again"; ceremonyId: string }
  /** No answer came to a code that was typed alone. It is not sent any more. */
  | { kind: "unanswered"; claimId: string }
  /** Show it and ask for the card; `again` if this very challenge is shown or answered already. */
  | { kind: "challenge"; challenge: ChallengeFrame; again: boolean }
  /** The answer is stored. */
  | { kind: "accepted"; ceremonyId: string; attempt: string }
  /** It is over: say how it ended. */
  | { kind: "closed"; closed: ClosedFrame }
  /** Take it down. */
  | { kind: "taken_down"; ceremonyId: string; why: TakenDown }
  /** The relay refused a frame; where it is one of a code, ask again. */
  | { kind: "refused"; error: ErrorFrame };

interface Claim {
  claimId: string;
  code: string;
  frame: string;
}

interface Prompt {
  attempt?: string;
  /** `card`: an error of the card that ends the ceremony. */
  said?: { type: "claim" | "decline" | "card"; frame: string; claim?: Claim };
  /** A typed code found it, this one if it is known: the relay does not send it again by itself. */
  found?: { code?: string };
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
  /** A code that was typed where no prompt asked for it, until it is answered. */
  #typed: (Claim & { timer: ReturnType<typeof setTimeout> }) | undefined;
  /** No two runs of the app name a claim alike. */
  readonly #run = Math.random().toString(36).slice(2);
  #claims = 0;
  #over = false;
  #socket = 0;
  /** The largest frame that the relay takes, in bytes. */
  #limit = Infinity;

  constructor(answers: Answers, send: (frame: string) => void, tell: (event: PromptEvent) => void) {
    this.#answers = answers;
    this.#send = send;
    this.#tell = tell;
  }

  /** Whether anything is shown, or said and not answered. */
  get isOpen(): boolean {
    return this.#typed !== undefined || this.ceremonies().length > 0;
  }

  /** What is shown, and what was answered and has not ended. */
  ceremonies(): string[] {
    return [...new Set([...this.#prompts.keys(), ...this.#answers.ceremonies()])];
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
    // Nothing asks for these.
    if (this.#typed) this.#send(this.#typed.frame);
    for (const { found, said } of this.#prompts.values()) {
      if (found && said?.type === "claim") this.#send(said.frame);
    }
    const socket = this.#socket;
    this.#later(OPEN_AGAIN_MS, () => {
      if (socket !== this.#socket) return;
      for (const [id, prompt] of this.#prompts) {
        const silent = (!prompt.said || prompt.said.type === "card") && !this.#answers.has(id);
        const previewed = prompt.found !== undefined && prompt.attempt === undefined;
        if (silent && !previewed && prompt.shownOn !== socket) this.#takeDown(id, "not_open_any_more");
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
    const claim = this.#claim(code, ceremonyId);
    return this.#says(prompt, { type: "claim", frame: claim.frame, claim });
  }

  /** The person typed a code, into no prompt. */
  typeCode(code: string): string {
    const claim = this.#claim(code);
    const unanswered = () => {
      this.#typed = undefined;
      this.#tell({ kind: "unanswered", claimId: claim.claimId });
    };
    clearTimeout(this.#typed?.timer);
    // Nothing is told after the end.
    if (!this.#over) this.#typed = { ...claim, timer: setTimeout(unanswered, TYPED_MS) };
    this.#send(claim.frame);
    return claim.claimId;
  }

  /** The person wants what their code found. False if that code is not known, or it is taken up. */
  confirm(ceremonyId: string): boolean {
    const code = this.#prompts.get(ceremonyId)?.found?.code;
    return code !== undefined && this.claim(ceremonyId, code);
  }

  /** The person said no. */
  decline(ceremonyId: string, reason: DeclineReason): boolean {
    const prompt = this.#prompts.get(ceremonyId);
    if (!prompt) return false;
    const frame = JSON.stringify({ type: "decline", ceremony_id: ceremonyId, reason });
    return this.#says(prompt, { type: "decline", frame });
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
    this.#over = true;
    for (const { timer } of this.#prompts.values()) clearTimeout(timer);
    this.#prompts.clear();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#answered();
  }

  #offered(offer: OfferFrame): void {
    const id = offer.ceremony_id;
    this.#ack(id, "offer");
    if (offer.by_code) return this.#previewed(offer);
    const known = this.#prompts.get(id);
    this.#show(offer);
    // The relay offers what it has not been told.
    if (known?.said && known.said.type !== "card") this.#send(known.said.frame);
    this.#tell({ kind: "offer", offer, again: known !== undefined });
  }

  /** The relay shows what a typed code found. */
  #previewed(offer: OfferFrame): void {
    const { ceremony_id: id, claim_id: claimId } = offer;
    const named = ({ said }: Prompt) => claimId !== undefined && said?.claim?.claimId === claimId;
    const into = [...this.#prompts].find(([, prompt]) => named(prompt));
    const code = into?.[1].said?.claim?.code ?? (claimId === undefined ? undefined : this.#answered(claimId));
    const prompt = this.#show(offer);
    const { said } = prompt;
    const decided = said !== undefined || prompt.attempt !== undefined;
    // Typed into this very prompt, which the relay did not know to be shown; or once more alone.
    if (decided && said && code !== undefined) this.#send(said.frame);
    if (decided) this.#tell({ kind: "offer", offer, again: true });
    else {
      prompt.found = code === undefined ? {} : { code };
      const { rang = false, known_browser: knownBrowser = false, after_not_me: afterNotMe = false } = offer;
      const preview = { rang, knownBrowser, afterNotMe, typed: code !== undefined };
      this.#tell({ kind: "offer", offer, again: false, preview });
    }
    if (!into || into[0] === id) return;
    delete into[1].said;
    delete into[1].found;
    this.#tell({ kind: "ask_again", ceremonyId: into[0] });
  }

  /** What was typed alone needs no more sending, if this claim's answer came or none is named. */
  #answered(claimId?: string): string | undefined {
    const typed = this.#typed;
    if (!typed || (claimId !== undefined && typed.claimId !== claimId)) return undefined;
    clearTimeout(typed.timer);
    this.#typed = undefined;
    return typed.code;
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
        this.#later(RETRY_MS * (1 + Math.random()), () => this.#sayAgain(id, error.claim_id));
        break;
      case "code_malformed":
      case "wrong_code":
      case "other_device":
      case "code_ambiguous":
      case "too_many_codes":
      case "device_locked":
        // Of a code that was typed before the last one there is nothing left.
        if (prompt?.said?.claim && (error.claim_id ?? prompt.said.claim.claimId) === prompt.said.claim.claimId) {
          delete prompt.said;
          delete prompt.found?.code;
        }
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
    if (id === undefined && !error.retryable) this.#answered(error.claim_id);
    this.#tell({ kind: "refused", error });
  }

  #claim(code: string, ceremonyId?: string): Claim {
    const claimId = `${this.#run}.${(this.#claims += 1)}`;
    const named = ceremonyId === undefined ? {} : { ceremony_id: ceremonyId };
    return { claimId, code, frame: JSON.stringify({ type: "claim", ...named, code, claim_id: claimId }) };
  }

  #says(prompt: Prompt, said: NonNullable<Prompt["said"]>): boolean {
    prompt.said = said;
    this.#send(said.frame);
    return true;
  }

  #sayAgain(id?: string, claimId?: string): void {
    if (id === undefined && this.#typed && this.#typed.claimId === (claimId ?? this.#typed.claimId)) this.#send(this.#typed.frame);
    if (id === undefined && claimId !== undefined) return;
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
