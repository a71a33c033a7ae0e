import assert from "node:assert/strict";
import test from "node:test";
import type { ChallengeFrame, OfferFrame } from "../../src/index.js";
import { Answers } from "../../src/answers.js";
import { Prompts, type PromptEvent } from "../../src/prompts.js";
import { relayFrames } from "./samples.js";

const offer = relayFrames.find((frame): frame is OfferFrame => frame.type === "offer")!;
const challenge = relayFrames.find((frame): frame is ChallengeFrame => frame.type === "challenge")!;
const { ceremony_id: id, attempt } = challenge;
const FRAME_BYTES = 32_768;

/** Prompts, with the frames (acknowledgements left out) and events that they sent. */
function prompts(context: { after(done: () => void): void }) {
  const sent: string[] = [];
  const events: PromptEvent[] = [];
  const made = new Prompts(
    new Answers(),
    (frame) => {
      if (!frame.includes('"type":"ack"')) sent.push(frame);
    },
    (event) => events.push(event),
  );
  context.after(() => made.stop());
  return { made, events, taken: () => sent.splice(0) };
}

test("an answer over the relay's limit is refused and not kept", (context) => {
  const { made, taken } = prompts(context);
  made.connected(FRAME_BYTES);
  made.frame(challenge);
  const head = JSON.stringify({ type: "answer", ceremony_id: id, attempt }).length + ',"credential":'.length;
  // Two bytes each on the wire.
  const most = JSON.stringify({ n: "ö".repeat((FRAME_BYTES - head - 8) / 2) });
  const room = FRAME_BYTES - head - Buffer.byteLength(most);
  assert.throws(() => made.answer(id, attempt, most.padEnd(most.length + room + 1)), RangeError);
  made.connected(FRAME_BYTES);
  assert.deepEqual(taken(), [], "nothing was kept");
  assert.ok(made.answer(id, attempt, most.padEnd(most.length + room)));
  const [frame = ""] = taken();
  assert.equal(Buffer.byteLength(frame), FRAME_BYTES);
  made.connected(FRAME_BYTES);
  assert.deepEqual(taken(), [frame]);
  made.connected(FRAME_BYTES - 1);
  assert.deepEqual(taken(), [], "a relay that takes less is not sent it");
  made.connected(FRAME_BYTES);
  assert.deepEqual(taken(), [], "nor is it kept");
});

test("a final card error is sent again for the same challenge only", (context) => {
  for (const code of [602, 603, 605, 606, 608, 613, 617]) {
    const { made, taken } = prompts(context);
    made.connected(FRAME_BYTES);
    made.frame(challenge);
    assert.ok(made.card(id, code));
    const said = taken();
    assert.deepEqual(said, [JSON.stringify({ type: "card", ceremony_id: id, event: "error", code })]);
    made.connected(FRAME_BYTES);
    made.frame({ ...offer, ceremony_id: id });
    assert.deepEqual(taken(), [], "nothing but a challenge asks for it");
    made.frame(challenge);
    assert.deepEqual(taken(), said);
    made.frame({ ...challenge, attempt: "att_another" });
    made.frame({ ...challenge, attempt: "att_another" });
    assert.deepEqual(taken(), []);
  }
});

test("card presence and retryable card errors are sent once", (context) => {
  const { made, taken } = prompts(context);
  made.connected(FRAME_BYTES);
  made.frame(challenge);
  for (const code of [undefined, 600, 601, 604, 607]) assert.ok(made.card(id, code));
  assert.equal(taken().length, 5);
  made.frame(challenge);
  assert.deepEqual(taken(), []);
});

test("a card error does not replace a kept decline or answer", (context) => {
  const { made, taken } = prompts(context);
  made.connected(FRAME_BYTES);
  made.frame(challenge);
  made.card(id, 608);
  assert.ok(made.answer(id, attempt, "{}"));
  const [, answer = ""] = taken();
  made.card(id, 608);
  made.frame(challenge);
  taken();
  made.connected(FRAME_BYTES);
  made.frame(challenge);
  assert.deepEqual(taken(), [answer]);
  made.decline(id, "declined");
  made.card(id, 608);
  const [no = ""] = taken();
  made.frame(challenge);
  assert.deepEqual(taken(), [no]);
});

test("a card error does not keep an ended prompt", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { made, events } = prompts(context);
  made.connected(FRAME_BYTES);
  made.frame(challenge);
  made.card(id, 603);
  made.connected(FRAME_BYTES);
  context.mock.timers.tick(5_000);
  assert.deepEqual(events.at(-1), { kind: "taken_down", ceremonyId: id, why: "not_open_any_more" });
  assert.ok(!made.card(id, 603));
});

/** A sent claim. */
function claimed(frame = "{}"): { ceremony_id?: string; code: string; claim_id: string } {
  const { type, ...claim } = JSON.parse(frame);
  assert.equal(type, "claim");
  return claim;
}

function preview(of: OfferFrame, claimId: string): OfferFrame {
  return { ...of, by_code: true, rang: false, known_browser: false, after_not_me: true, claim_id: claimId };
}

const prompt: OfferFrame = { ...offer, code_length: 6 };
const other: OfferFrame = { ...prompt, ceremony_id: "cer_other" };

test("a code typed outside of a prompt previews, and claims after the confirmation", (context) => {
  const { made, events, taken } = prompts(context);
  made.connected(FRAME_BYTES);
  const claimId = made.typeCode("271828");
  const [first = ""] = taken();
  assert.deepEqual(claimed(first), { code: "271828", claim_id: claimId });
  assert.ok(!made.confirm(prompt.ceremony_id), "nothing was found yet");
  made.connected(FRAME_BYTES);
  assert.deepEqual(taken(), [first], "it is said again on a new socket, under the same name");
  const found = preview(prompt, claimId);
  made.frame(found);
  const known = { rang: false, knownBrowser: false, afterNotMe: true, typed: true };
  assert.deepEqual(events, [{ kind: "offer", offer: found, again: false, preview: known }]);
  made.connected(FRAME_BYTES);
  assert.deepEqual(taken(), [], "it was answered");
  assert.ok(made.confirm(prompt.ceremony_id));
  const [second = ""] = taken();
  const { claim_id: name, ...claim } = claimed(second);
  assert.deepEqual(claim, { ceremony_id: prompt.ceremony_id, code: "271828" });
  assert.notEqual(name, claimId);
  made.connected(FRAME_BYTES);
  assert.deepEqual(taken(), [second], "the relay does not offer it again by itself");
  made.frame({ ...challenge, ceremony_id: prompt.ceremony_id });
  made.connected(FRAME_BYTES);
  assert.deepEqual(taken(), []);
});

test("a code typed into another prompt previews its own ceremony, and that prompt asks again", (context) => {
  const { made, events, taken } = prompts(context);
  made.connected(FRAME_BYTES);
  made.frame(other);
  assert.ok(made.claim(other.ceremony_id, "271828"));
  const { claim_id: claimId } = claimed(taken()[0]);
  made.frame(preview(prompt, claimId));
  assert.deepEqual(events.at(-1), { kind: "ask_again", ceremonyId: other.ceremony_id });
  made.frame(other);
  assert.deepEqual(taken(), [], "it has forgotten the code");
  assert.ok(made.confirm(prompt.ceremony_id));
  assert.equal(claimed(taken()[0]).code, "271828");
});

test("a preview of the prompt itself is claimed without a question", (context) => {
  const { made, events, taken } = prompts(context);
  made.connected(FRAME_BYTES);
  made.frame(prompt);
  made.claim(prompt.ceremony_id, "271828");
  const [said = ""] = taken();
  const found = preview(prompt, claimed(said).claim_id);
  made.frame(found);
  assert.deepEqual(taken(), [said]);
  assert.deepEqual(events.at(-1), { kind: "offer", offer: found, again: true });
});

test("a preview survives a reconnection until its time is up", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { made, events } = prompts(context);
  made.connected(FRAME_BYTES);
  made.frame(preview(prompt, made.typeCode("271828")));
  made.connected(FRAME_BYTES);
  context.mock.timers.tick(5_000);
  assert.equal(events.at(-1)?.kind, "offer");
  assert.ok(made.confirm(prompt.ceremony_id));
});

test("a refused code is not resent, and an answer to an earlier code refuses no later one", (context) => {
  for (const code of ["code_malformed", "wrong_code", "other_device", "code_ambiguous", "too_many_codes", "device_locked"]) {
    const { made, events, taken } = prompts(context);
    made.connected(FRAME_BYTES);
    const error = { type: "error", code, message: "no", retryable: false } as const;
    made.frame({ ...error, claim_id: made.typeCode("111111") });
    assert.equal(events.at(-1)?.kind, "refused");
    made.frame(prompt);
    made.claim(prompt.ceremony_id, "111111");
    made.claim(prompt.ceremony_id, "222222");
    const [, first, second = ""] = taken();
    made.frame({ ...error, ceremony_id: prompt.ceremony_id, claim_id: claimed(first).claim_id });
    made.connected(FRAME_BYTES);
    made.frame(prompt);
    assert.deepEqual(taken(), [second], code);
    made.frame({ ...error, ceremony_id: prompt.ceremony_id, claim_id: claimed(second).claim_id });
    made.frame(prompt);
    assert.deepEqual(taken(), [], code);
  }
});

test("a code typed outside of a prompt is resent after slow_down, and given up without an answer", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { made, events, taken } = prompts(context);
  made.connected(FRAME_BYTES);
  const claimId = made.typeCode("271828");
  const said = taken();
  for (const named of [{ claim_id: claimId }, {}]) {
    made.frame({ type: "error", code: "slow_down", message: "no", retryable: true, ...named });
    context.mock.timers.tick(1_000);
    assert.deepEqual(taken(), said);
  }
  context.mock.timers.tick(120_000);
  assert.deepEqual(events.at(-1), { kind: "unanswered", claimId });
  made.connected(FRAME_BYTES);
  assert.deepEqual(taken(), []);
});
