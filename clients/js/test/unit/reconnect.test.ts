import assert from "node:assert/strict";
import test from "node:test";
import { Reconnect, type SocketEnd } from "../../src/reconnect.js";

const atMost = (end: SocketEnd, stood = 0, goaway?: number) => new Reconnect(() => 1).after(end, stood, goaway);

test("waits have full jitter and double up to a minute", () => {
  const [most, least] = [new Reconnect(() => 1), new Reconnect(() => 0)];
  const waits = Array.from({ length: 9 }, () => most.after({ code: 1006 }, 0));
  const expected = [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000];
  assert.deepEqual(waits, expected.map((waitMs) => ({ waitMs })));
  assert.deepEqual(most.after({ code: 1006 }, 9_999), { waitMs: 60_000 });
  assert.deepEqual(most.after({ code: 1006 }, 10_000), { waitMs: 500 }, "a settled socket ends the row");
  assert.deepEqual(least.after({ code: 1006 }, 0), { waitMs: 0 });
});

test("every close code is handled as the protocol says", () => {
  for (const code of [1000, 1001, 1005, 1006, 1011, 1012, 4401, 4408, 4999]) {
    assert.deepEqual(atMost({ code }), { waitMs: 500 }, String(code));
  }
  for (const code of [1002, 1003, 1007, 1008, 1009, 1013, 4429]) {
    assert.deepEqual(atMost({ code }), { waitMs: 5_500 }, String(code));
  }
  assert.deepEqual(atMost({ code: 4403 }, 20_000, 5), { stop: "revoked" });
  assert.deepEqual(atMost({ code: 4409 }), { stop: "replaced" });
  assert.deepEqual(atMost({ code: 4426 }), { stop: "too_old" });
  assert.deepEqual(atMost({ status: 426 }), { stop: "too_old" });
  assert.deepEqual(atMost({ status: 503, retryAfterMs: 7_000 }), { waitMs: 7_500 });
  assert.deepEqual(atMost({ code: 1012 }, 20_000, 3_270), { waitMs: 3_270 }, "goaway is kept exactly");
});

test("five refused proofs in a row stop the socket", () => {
  const reconnect = new Reconnect(() => 0);
  for (let turn = 0; turn < 4; turn += 1) reconnect.after({ code: 4401 }, 0);
  reconnect.after({ code: 1006 }, 50);
  for (let turn = 0; turn < 4; turn += 1) assert.deepEqual(reconnect.after({ code: 4401 }, 0), { waitMs: 0 });
  assert.deepEqual(reconnect.after({ code: 4401 }, 0), { stop: "unknown_device" });
});
