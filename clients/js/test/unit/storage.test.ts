import assert from "node:assert/strict";
import test from "node:test";
import { storedDevice, storedSigner, type ChallengeFrame, type DeviceStorage } from "../../src/index.js";
import { relayFrames } from "./samples.js";
import { ScriptedRelay, settled } from "./scripted.js";

const challenge = relayFrames.find((frame): frame is ChallengeFrame => frame.type === "challenge")!;
const { ceremony_id: id, attempt } = challenge;
const CREDENTIAL = '{"id":"AQ",  "n":1.50}';
const FRAME = `{"type":"answer","ceremony_id":"${id}","attempt":"${attempt}","credential":${CREDENTIAL}}`;

/** A store of strings, as most apps have. */
function texts(): DeviceStorage & { kept: Map<string, string> } {
  const kept = new Map<string, string>();
  return {
    kept,
    get: async (name) => JSON.parse(kept.get(name) ?? "null"),
    set: async (name, value) => void kept.set(name, JSON.stringify(value)),
    delete: async (name) => void kept.delete(name),
  };
}

/** Frames of the device other than proofs. */
const said = (relay: ScriptedRelay) => relay.line.sent.filter((frame) => !frame.includes('"type":"auth"'));

test("an app killed after the card signed resends the answer without a second tap", async (context) => {
  const storage = texts();
  const killed = new ScriptedRelay(context, { storage });
  await killed.welcomes();
  killed.says(challenge);
  assert.ok(killed.socket.answer(id, attempt, CREDENTIAL));
  await settled();
  const next = new ScriptedRelay(context, { storage });
  await next.welcomes();
  assert.deepEqual(said(next), [FRAME], "byte for byte");
  next.says(challenge);
  const last = next.events.at(-1);
  assert.ok(last?.kind === "challenge" && last.again);
  assert.ok(!next.socket.answer(id, attempt, "{}"));
  next.says({ type: "closed", ceremony_id: id, outcome: "succeeded" });
  await settled();
  assert.equal(storage.kept.size, 0, "nothing of a ceremony is kept after its end");
});

test("an answer is kept when the app stops, and deleted when the device is revoked", async (context) => {
  const storage = texts();
  const stopped = new ScriptedRelay(context, { storage });
  await stopped.welcomes();
  stopped.says(challenge);
  stopped.socket.answer(id, attempt, CREDENTIAL);
  stopped.socket.stop();
  await settled();
  assert.equal(storage.kept.size, 1);
  const revoked = new ScriptedRelay(context, { storage });
  await revoked.welcomes();
  revoked.line.listener.ended({ code: 4403 });
  await settled();
  assert.equal(storage.kept.size, 0);
});

test("answers of another device are not sent", async (context) => {
  const storage = texts();
  await storage.set("answers", { device_id: "dev_before", answers: { [id]: { attempt, frame: FRAME } } });
  const relay = new ScriptedRelay(context, { storage });
  await relay.welcomes();
  assert.deepEqual(said(relay), []);
});

test("a storage failure is reported and affects neither socket nor answer", async (context) => {
  const fails = () => Promise.reject(new Error("full"));
  const relay = new ScriptedRelay(context, { storage: { get: fails, set: fails, delete: fails } });
  await relay.welcomes();
  relay.says(challenge);
  relay.socket.answer(id, attempt, CREDENTIAL);
  await settled();
  assert.deepEqual(said(relay), [FRAME]);
  assert.equal(relay.events.filter(({ kind }) => kind === "not_stored").length, 2);
});

test("the socket connects only after the storage was read", async (context) => {
  let give: (value: unknown) => void = () => assert.fail();
  const storage = { ...texts(), get: () => new Promise<unknown>((resolve) => (give = resolve)) };
  const relay = new ScriptedRelay(context, { storage });
  relay.socket.wake();
  relay.socket.redial();
  await settled();
  assert.equal(relay.lines.length, 0);
  give(undefined);
  await settled();
  assert.equal(relay.lines.length, 1);
});

test("a key is created once and loaded again, and so is a device", async () => {
  const kept = new Map<string, unknown>();
  const storage: DeviceStorage = {
    get: async (name) => kept.get(name),
    set: async (name, value) => void kept.set(name, structuredClone(value)),
    delete: async (name) => void kept.delete(name),
  };
  const [first, again] = [await storedSigner(storage), await storedSigner(storage)];
  assert.deepEqual(again.jwk, first.jwk);
  assert.notDeepEqual((await storedSigner(storage, "next_key")).jwk, first.jwk);
  assert.equal(await storedDevice(storage), undefined);
  const device = { device_id: "dev_x", socket_url: "wss://relay.example/v1/device/socket" };
  await storage.set("device", device);
  assert.deepEqual(await storedDevice(storage), device);
});
