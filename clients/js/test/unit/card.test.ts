import assert from "node:assert/strict";
import test from "node:test";
import { standardBase64 } from "../../src/index.js";

test("a challenge of any length becomes padded standard base64", () => {
  for (let length = 0; length < 70; length += 1) {
    const bytes = Buffer.from(Array.from({ length }, (_, at) => (at * 73 + 251) & 255));
    assert.equal(standardBase64(bytes.toString("base64url")), bytes.toString("base64"));
  }
});

test("a challenge is converted for the SDK as in the protocol's example", () => {
  const challenge = "efIC0xqlp2fY0_WzvQELkx6yOa8J0Z8FvBXID2K2FuA";
  assert.equal(standardBase64(challenge), "efIC0xqlp2fY0/WzvQELkx6yOa8J0Z8FvBXID2K2FuA=");
});
