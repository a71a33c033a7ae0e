import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { HEARTBEAT_MS, ScriptedRelay } from "./scripted.js";

/** A welcomed device socket on a fake clock. */
async function connected(context: TestContext): Promise<ScriptedRelay> {
  ScriptedRelay.holdTime(context);
  const relay = new ScriptedRelay(context);
  await relay.welcomes();
  relay.line.sent.length = 0;
  return relay;
}

test("a silent connection is replaced within three heartbeats", async (context) => {
  const relay = await connected(context);
  ScriptedRelay.pass(context, 3 * HEARTBEAT_MS);
  assert.equal(relay.lines.length, 2);
  assert.ok(relay.lines[0]?.dropped);
});

test("a connection that answers probes stays open for hours with pings hidden", async (context) => {
  const relay = await connected(context);
  let asked = 0;
  ScriptedRelay.pass(context, 2 * 3_600_000, () => {
    for (const { id } of relay.pings()) {
      asked += 1;
      relay.says({ type: "pong", id });
    }
  });
  assert.equal(relay.lines.length, 1);
  assert.ok(asked > 100 && asked <= (2 * 3_600_000) / HEARTBEAT_MS, `${asked}`);
});

test("a connection with visible pings is not probed", async (context) => {
  const relay = await connected(context);
  let passed = 0;
  ScriptedRelay.pass(context, 600_000, () => {
    passed += 100;
    if (passed % HEARTBEAT_MS === 0) relay.line.listener.alive();
    assert.deepEqual(relay.pings(), []);
  });
  assert.equal(relay.lines.length, 1);
});

test("an older relay's error for a ping counts as a sign of life and is not reported", async (context) => {
  const relay = await connected(context);
  ScriptedRelay.pass(context, 600_000, () => {
    for (const _ of relay.pings()) relay.says({ type: "error", code: "unknown_type", message: "?", retryable: false });
  });
  assert.equal(relay.lines.length, 1);
  assert.deepEqual(relay.events.map(({ kind }) => kind), ["connected"]);
});

test("wake() probes an open connection and replaces it after 5 s without an answer", async (context) => {
  const relay = await connected(context);
  relay.socket.wake();
  assert.equal(relay.pings().length, 1);
  // Frames that were buffered while the app slept are no sign of life.
  relay.line.listener.alive();
  relay.says({ type: "pong", id: "another" });
  ScriptedRelay.pass(context, 3_000);
  relay.socket.wake();
  assert.deepEqual(relay.pings(), [], "one question at a time");
  ScriptedRelay.pass(context, 2_000);
  assert.ok(relay.lines[0]?.dropped);
  ScriptedRelay.pass(context, 500);
  assert.equal(relay.lines.length, 2);
});

test("wake() keeps a connection that answers", async (context) => {
  const relay = await connected(context);
  for (let turn = 0; turn < 3; turn += 1) {
    relay.socket.wake();
    const [ping] = relay.pings();
    relay.says({ type: "pong", id: ping?.id });
    ScriptedRelay.pass(context, 10_000);
  }
  assert.equal(relay.lines.length, 1);
});

test("wake() shortens a pending probe and a handshake", async (context) => {
  const relay = await connected(context);
  ScriptedRelay.pass(context, 2.1 * HEARTBEAT_MS);
  assert.equal(relay.pings().length, 1);
  relay.socket.wake();
  assert.equal(relay.pings().length, 1);
  ScriptedRelay.pass(context, 5_500);
  assert.equal(relay.lines.length, 2);
  relay.socket.wake();
  ScriptedRelay.pass(context, 6_500);
  assert.equal(relay.lines.length, 3);
});

test("wake() on a stopped socket does nothing", async (context) => {
  const relay = await connected(context);
  relay.socket.stop();
  relay.socket.wake();
  relay.socket.redial();
  ScriptedRelay.pass(context, 60_000);
  assert.deepEqual([relay.lines.length, relay.pings()], [1, []]);
});
