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

/** Prompts with what they sent (acknowledgements left out) and told. */
function prompts(context: { after(done: () => void): void }) {
  const sent: string[] = [];
  const told: PromptEvent[] = [];
  const made = new Prompts(
    new Answers(),
    (frame) => {
      if (!frame.includes('"type":"ack"')) sent.push(frame);
    },
    (event) => told.push(event),
  );
  context.after(() => made.stop());
  return { made, told, taken: () => sent.splice(0) };
}

test("an answer that the relay would not take is refused before it is kept", (context) => {
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

test("a card's error that ends a ceremony is said again to the same challenge, and to no other", (context) => {
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

test("a card that is in the field or may be held again is told once", (context) => {
  const { made, taken } = prompts(context);
  made.connected(FRAME_BYTES);
  made.frame(challenge);
  for (const code of [undefined, 600, 601, 604, 607]) assert.ok(made.card(id, code));
  assert.equal(taken().length, 5);
  made.frame(challenge);
  assert.deepEqual(taken(), []);
});

test("a card's error does not stand in for a no or an answer that is kept", (context) => {
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

test("what a card said does not keep a prompt that is over", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { made, told } = prompts(context);
  made.connected(FRAME_BYTES);
  made.frame(challenge);
  made.card(id, 603);
  made.connected(FRAME_BYTES);
  context.mock.timers.tick(5_000);
  assert.deepEqual(told.at(-1), { kind: "taken_down", ceremonyId: id, why: "not_open_any_more" });
  assert.ok(!made.card(id, 603));
});
