import assert from "node:assert/strict";
import test from "node:test";
import { retryAfterMs } from "../../src/pause.js";
import { watchCeremony } from "../../src/watch.js";

const URL_OF_ONE = "https://relay.example/v1/ceremonies/cer_x";

test("a URL or a ticket that could never be sent is a mistake, and not a network that is down", async () => {
  const never: typeof fetch = () => assert.fail("it was sent");
  for (const [url, ticket] of [
    ["/v1/ceremonies/cer_x", "tkt_x"],
    ["ftp://relay.example/v1/ceremonies/cer_x", "tkt_x"],
    ["https://relay example/v1/ceremonies/cer_x", "tkt_x"],
    [URL_OF_ONE, "tkt_\u{1f511}"],
    [URL_OF_ONE, "tkt\n_x"],
  ] as const) {
    const watch = watchCeremony(url, ticket, { fetch: never });
    await assert.rejects(watch, TypeError, `${url} ${ticket}`);
    await assert.rejects(watch[Symbol.asyncIterator]().next(), TypeError, `${url} ${ticket}`);
  }
});

test("the first wait after a failure is at most the one that was given, and the next twice that", async (context) => {
  context.mock.method(Math, "random", () => 1);
  const waits: number[] = [];
  const controller = new AbortController();
  const real = setTimeout;
  context.mock.method(globalThis, "setTimeout", (run: () => void, ms: number) => {
    // What a request may take at most is no wait.
    if (ms >= 5_000) return real(run, ms);
    waits.push(ms);
    if (waits.length === 3) controller.abort();
    return real(run, 0);
  });
  const offline: typeof fetch = () => Promise.reject(new TypeError("fetch failed"));
  const options = { fetch: offline, signal: controller.signal, backoff: { firstMs: 100, mostMs: 1_000 } };
  await assert.rejects(watchCeremony(URL_OF_ONE, "tkt_x", options), { name: "AbortError" });
  assert.deepEqual(waits, [100, 200, 400]);
});

test("a Retry-After is kept, up to ten minutes", () => {
  const waits = ["7", "600", "601", "99999999", "-1", "soon", null].map(retryAfterMs);
  assert.deepEqual(waits, [7_000, 600_000, 600_000, 600_000, 0, 0, 0]);
  const inAMinute = retryAfterMs(new Date(Date.now() + 60_000).toUTCString());
  assert.ok(inAMinute > 50_000 && inAMinute <= 60_000, `${inAMinute}`);
  assert.equal(retryAfterMs("Sun, 06 Nov 1994 08:49:37 GMT"), 0);
  assert.equal(retryAfterMs("whenever GMT"), 0);
});
