// A service worker's handling of a push.

import assert from "node:assert/strict";
import test from "node:test";
import { handlePush, wakeOf, webPushTarget } from "../../src/index.js";

/** A service worker's scope, the parts used for a push. */
function worker(text: string | undefined) {
  const record = { shown: [] as [string, object][], pulled: 0, done: undefined as Promise<unknown> | undefined };
  const event = {
    data: text === undefined ? null : { text: () => text },
    waitUntil: (done: Promise<unknown>) => {
      record.done = done;
    },
  };
  const registration = {
    showNotification: async (title: string, options: object) => {
      record.shown.push([title, options]);
    },
  };
  return { record, event, registration };
}

test("a wake is shown with the operator's sentence before the pull", async () => {
  const { record, event, registration } = worker('{"wake":"w1","body":"Open the app to continue."}');
  const pull = async () => {
    assert.equal(record.shown.length, 1, "the notification comes first");
    record.pulled += 1;
  };
  assert.equal(handlePush(event, { registration, title: "Example Bank", pull }), true);
  await record.done;
  assert.equal(record.pulled, 1);
  assert.deepEqual(record.shown, [
    ["Example Bank", { body: "Open the app to continue.", tag: "fido-relay", renotify: true, data: { wake: "w1" } }],
  ]);
});

test("an unreachable relay does not affect the notification", async () => {
  const { record, event, registration } = worker('{"wake":"w1","body":"Open the app to continue."}');
  handlePush(event, { registration, title: "Example Bank", pull: () => Promise.reject(new Error("no network")) });
  await record.done;
  assert.equal(record.shown.length, 1);
});

test("a push that is not a wake is not shown and causes no request", () => {
  for (const text of [undefined, "", "no JSON", "null", "[]", "{}", '{"wake":"w1"}', '{"wake":1,"body":"x"}']) {
    const { record, event, registration } = worker(text);
    const pull = async () => {
      record.pulled += 1;
    };
    assert.equal(handlePush(event, { registration, title: "Example Bank", pull }), false, text);
    assert.deepEqual([record.shown.length, record.pulled, record.done], [0, 0, undefined], text);
    assert.equal(wakeOf(text), undefined, text);
  }
});

test("a browser's subscription becomes a push address", () => {
  const json = { endpoint: "https://push.example/x", expirationTime: null, keys: { p256dh: "key", auth: "secret", more: "x" } };
  const target = webPushTarget({ toJSON: () => json });
  assert.deepEqual(target, { service: "webpush", token: "https://push.example/x", keys: { p256dh: "key", auth: "secret" } });
  assert.throws(() => webPushTarget({ toJSON: () => ({ endpoint: "https://push.example/x" }) }), TypeError);
});
