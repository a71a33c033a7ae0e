// What the app shows, and what user and card have answered: kept until the relay evidently has it
// (docs/protocol.md, section 10). It knows no sockets: when the relay sends a frame again, the
// answer to it was lost.

import type { Answers } from "./answers.js";
import type { AckOf, ChallengeFrame, ClosedFrame, DeclineReason, ErrorFrame, OfferFrame, RelayFrame } from "./frames.js";

/** A prompt that is not sent again within this time after a welcome has ended. */
const OPEN_AGAIN_MS = 5_000;
/** An answer under verification outlives the ceremony's time. */
const VERIFYING_MS = 30_000;
const RETRY_MS = 500;
/** How long a code typed outside of a prompt waits for its answer: about as long as a page shows it. */
const TYPED_MS = 120_000;
/** Card errors that leave the ceremony open; every other one ends it (docs/protocol.md, section 8). */
const CARD_AGAIN = new Set([600, 601, 604, 607]);

/** Why a prompt is taken down without a `closed`. */
export type TakenDown = "time_is_up" | "not_open_any_more" | "claimed_elsewhere" | "already_closed" | "unknown_ceremony";

/** How a typed code found the offered ceremony. */
export interface Preview {
  /** Whether phones rang for it before. */
  rang: boolean;
  /** Whether the user succeeded before in the requesting browser. */
  knownBrowser: boolean;
  /** The user said "not me" a short while ago: warn before the confirmation. */
  afterNotMe: boolean;
  /** Whether `confirm` knows the code; if not, ask for it as for any offer. */
  typed: boolean;
}

export type PromptEvent =
  /**
   * Show it and ask for the code; `again` if it is already shown. With `preview` a typed code found
   * it: show the initiator and the purpose, and call `confirm` if the user agrees.
   */
  | { kind: "offer"; offer: OfferFrame; again: boolean; preview?: Preview }
  /** The code typed into this prompt belongs to another ceremony, which is previewed: ask again. */
  | { kind: "ask_again"; ceremonyId: string }
  /** A code typed outside of a prompt got no answer. It is not sent any more. */
  | { kind: "unanswered"; claimId: string }
  /** Show it and ask for the card; `again` if this very challenge is already shown or answered. */
  | { kind: "challenge"; challenge: ChallengeFrame; again: boolean }
  /** The answer is stored. */
  | { kind: "accepted"; ceremonyId: string; attempt: string }
  /** The ceremony has ended: show the outcome. */
  | { kind: "closed"; closed: ClosedFrame }
  /** Take it down. */
  | { kind: "taken_down"; ceremonyId: string; why: TakenDown }
  /** The relay refused a frame; if it was a code, ask again. */
  | { kind: "refused"; error: ErrorFrame };

interface Claim {
  claimId: string;
  code: string;
  frame: string;
}

interface Prompt {
  attempt?: string;
  /** `card`: a card error that ends the ceremony. */
  said?: { type: "claim" | "decline" | "card"; frame: string; claim?: Claim };
  /** Found by a typed code (this one, if known): the relay does not send it again by itself. */
  found?: { code?: string };
  timer: ReturnType<typeof setTimeout> | undefined;
  /** By `performance.now()`. */
  until: number;
  /** The socket on which the relay sent it last. */
  shownOn: number;
}

export class Prompts {
  readonly #send: (frame: string) => void;
  readonly #tell: (event: PromptEvent) => void;
  readonly #prompts = new Map<string, Prompt>();
  /** Also of ceremonies without a prompt. */
  readonly #answers: Answers;
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  /** A code typed outside of a prompt, until it is answered. */
  #typed: (Claim & { timer: ReturnType<typeof setTimeout> }) | undefined;
  /** Unique across runs of the app. */
  readonly #run = Math.random().toString(36).slice(2);
  #claims = 0;
  #over = false;
  #socket = 0;
  /** The largest frame that the relay accepts, in bytes. */
  #limit = Infinity;

  constructor(answers: Answers, send: (frame: string) => void, tell: (event: PromptEvent) => void) {
    this.#answers = answers;
    this.#send = send;
    this.#tell = tell;
  }

  /** Whether anything is shown, or sent and unanswered. */
  get isOpen(): boolean {
    return this.#typed !== undefined || this.ceremonies().length > 0;
  }

  /** Ceremonies that are shown, or answered and not ended. */
  ceremonies(): string[] {
    return [...new Set([...this.#prompts.keys(), ...this.#answers.ceremonies()])];
  }

  /**
   * A socket with this frame limit was welcomed: first sends again what the relay may not have.
   */
  connected(limit: number): void {
    this.#socket += 1;
    this.#limit = limit;
    for (const [id, { frame }] of this.#answers.entries()) {
      // Sending it would close every socket.
      if (bytesOf(frame) > limit) this.#answers.delete(id);
      else this.#send(frame);
    }
    // The relay does not ask for these again.
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

  /** The user typed the code. False if no prompt can take it. */
  claim(ceremonyId: string, code: string): boolean {
    const prompt = this.#prompts.get(ceremonyId);
    if (!prompt || prompt.attempt !== undefined) return false;
    const claim = this.#claim(code, ceremonyId);
    return this.#says(prompt, { type: "claim", frame: claim.frame, claim });
  }

  /** The user typed a code outside of a prompt. */
  typeCode(code: string): string {
    const claim = this.#claim(code);
    const unanswered = () => {
      this.#typed = undefined;
      this.#tell({ kind: "unanswered", claimId: claim.claimId });
    };
    clearTimeout(this.#typed?.timer);
    // No events after the end.
    if (!this.#over) this.#typed = { ...claim, timer: setTimeout(unanswered, TYPED_MS) };
    this.#send(claim.frame);
    return claim.claimId;
  }

  /** The user confirms a preview. False if its code is unknown, or it is already claimed. */
  confirm(ceremonyId: string): boolean {
    const code = this.#prompts.get(ceremonyId)?.found?.code;
    return code !== undefined && this.claim(ceremonyId, code);
  }

  /** The user declines. */
  decline(ceremonyId: string, reason: DeclineReason): boolean {
    const prompt = this.#prompts.get(ceremonyId);
    if (!prompt) return false;
    const frame = JSON.stringify({ type: "decline", ceremony_id: ceremonyId, reason });
    return this.#says(prompt, { type: "decline", frame });
  }

  /** The NFC field detected a card, or it failed with this error number of the SDK. */
  card(ceremonyId: string, error?: number): boolean {
    const prompt = this.#prompts.get(ceremonyId);
    if (!prompt) return false;
    const what = error === undefined ? { event: "present" } : { event: "error", code: error };
    const frame = JSON.stringify({ type: "card", ceremony_id: ceremonyId, ...what });
    const ends = error !== undefined && error >= 600 && error <= 617 && !CARD_AGAIN.has(error);
    const kept = prompt.said !== undefined || this.#answers.has(ceremonyId);
    // A final error of the card is not asked for twice.
    if (ends && prompt.attempt !== undefined && !kept) prompt.said = { type: "card", frame };
    this.#send(frame);
    return true;
  }

  /**
   * The card signed. The SDK's JSON text is sent unchanged; a second answer is ignored. Throws a
   * `RangeError`, and keeps nothing, if it exceeds the relay's limit.
   */
  answer(ceremonyId: string, attempt: string, credential: string): boolean {
    const prompt = this.#prompts.get(ceremonyId);
    if (prompt?.attempt !== attempt || this.#answers.get(ceremonyId)?.attempt === attempt) return false;
    const parsed: unknown = JSON.parse(credential);
    if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
      throw new TypeError("a credential must be a JSON object");
    }
    const head = JSON.stringify({ type: "answer", ceremony_id: ceremonyId, attempt });
    const frame = `${head.slice(0, -1)},"credential":${credential}}`;
    if (bytesOf(frame) > this.#limit) throw new RangeError(`an answer may have at most ${this.#limit} bytes with its frame`);
    if (prompt.said?.type === "card") delete prompt.said;
    this.#answers.set(ceremonyId, { attempt, frame });
    this.#wake(ceremonyId, prompt, prompt.until + VERIFYING_MS);
    this.#send(frame);
    return true;
  }

  /** Drops every prompt and timer. */
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
    // The relay offers it again, so it has not received the claim.
    if (known?.said && known.said.type !== "card") this.#send(known.said.frame);
    this.#tell({ kind: "offer", offer, again: known !== undefined });
  }

  /** The relay previews the ceremony that a typed code found. */
  #previewed(offer: OfferFrame): void {
    const { ceremony_id: id, claim_id: claimId } = offer;
    const named = ({ said }: Prompt) => claimId !== undefined && said?.claim?.claimId === claimId;
    const into = [...this.#prompts].find(([, prompt]) => named(prompt));
    const code = into?.[1].said?.claim?.code ?? (claimId === undefined ? undefined : this.#answered(claimId));
    const prompt = this.#show(offer);
    const { said } = prompt;
    const decided = said !== undefined || prompt.attempt !== undefined;
    // The code belongs to this very prompt, which the relay did not know to be shown; or it was repeated.
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

  /** Stops resending a code typed outside of a prompt, if this claim was answered or none is named. */
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
    // Answered by an earlier run of the app, so it is not shown.
    const again = this.#prompts.get(id)?.attempt === attempt || kept?.attempt === attempt;
    const prompt = this.#show(challenge);
    prompt.attempt = attempt;
    // A card's error belongs to its own challenge.
    if (prompt.said?.type === "claim" || (prompt.said?.type === "card" && !again)) delete prompt.said;
    if (prompt.said) this.#send(prompt.said.frame);
    // An answer to an earlier challenge is obsolete.
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
        // An earlier typed code leaves nothing behind.
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
      // The answer is kept: the next socket may still report the end.
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

/** The length of a frame on the wire. */
function bytesOf(frame: string): number {
  return new TextEncoder().encode(frame).length;
}
