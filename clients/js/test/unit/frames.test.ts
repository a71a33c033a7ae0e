// The generated types; the compiler checks half of this test.

import assert from "node:assert/strict";
import test from "node:test";
import type { RelayFrame } from "../../src/index.js";
import { deviceFrames, relayFrames, watchEvents } from "./samples.js";

/** A missing or extra frame does not compile. */
function describe(frame: RelayFrame): string {
  switch (frame.type) {
    case "hello":
    case "reauth":
      return frame.nonce;
    case "welcome":
      return frame.connection_id;
    case "offer":
      return frame.transaction?.fields[0]?.label ?? frame.client_name;
    case "challenge":
      return frame.attempt;
    case "accepted":
      return frame.attempt;
    case "closed":
      return frame.outcome;
    case "error":
      return frame.code;
    case "notice":
      return frame.notice_id;
    case "pong":
      return frame.id;
    case "goaway":
      return String(frame.reconnect_in_ms);
    default:
      return frame satisfies never;
  }
}

test("frames are a union by type with their own fields", () => {
  assert.ok(relayFrames.length >= 17 && deviceFrames.length >= 10 && watchEvents.length >= 2);
  for (const frame of relayFrames) assert.notEqual(describe(frame), "");
  assert.equal(new Set(relayFrames.map((frame) => frame.type)).size, 11);
  assert.equal(new Set(deviceFrames.map((frame) => frame.type)).size, 7);
});
