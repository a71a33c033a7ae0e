// Watching against the real relay, across every kind of failure.

import assert from "node:assert/strict";
import test from "node:test";
import { watchCeremony as watchWith, WatchError, type Watch, type WatchEvent, type WatchOptions } from "../../src/index.js";
import { Proxy } from "./proxy.js";
import { all, ask, control, endsAfterwards, open, Phone, RELAY, type Opened } from "./relay.js";

const LIMIT = { timeout: 30_000 };
const SOON = { firstMs: 20, mostMs: 100 };
// The numbers of: opened, sent, delivered, claimed, challenged, card, verifying, closed.
const STEPS = [10, 11, 13, 20, 30, 40, 50, 60];
let users = 0;

/** A watch that ends with its test. */
function watchCeremony(url: string, ticket: string, options: WatchOptions = {}): Watch {
  const controller = new AbortController();
  endsAfterwards(() => controller.abort());
  return watchWith(url, ticket, { signal: controller.signal, ...options });
}

const at = (base: string, opened: Opened) => `${base}/v1/ceremonies/${opened.id}`;

/** The events of the ceremony, by one transport without failures. */
const whole = (opened: Opened, road: "events" | "poll") =>
  all(watchCeremony(at(RELAY, opened), opened.ticket, { road }));

/** A ceremony with a phone that waits for its code. */
async function begun(): Promise<{ opened: Opened; phone: Phone }> {
  users += 1;
  const username = `watched-${users}@example.com`;
  const phone = await Phone.of(username);
  const shown = { prior_auth: "session", show_delivery: true };
  return { opened: await open(username, shown), phone };
}

/** Compares the observed events with the relay's record, which has no superseded steps. */
async function complete(opened: Opened, seen: WatchEvent[]): Promise<void> {
  const view = (await (await ask("GET", `/v1/ceremonies/${opened.id}`)).json()) as { progress: WatchEvent[] };
  const reported = seen.map(({ seq, step, at }) => ({ seq, step, at }));
  assert.deepEqual(reported, view.progress);
  assert.deepEqual(reported.map(({ seq }) => seq), STEPS);
  assert.deepEqual([seen.at(-1)?.step, seen.at(-1)?.status], ["closed", "succeeded"]);
}

test("events and long polling report the same events, and the promise the last one", LIMIT, async () => {
  const { opened, phone } = await begun();
  const heard: WatchEvent[] = [];
  const watch = watchCeremony(at(RELAY, opened), opened.ticket, { onEvent: (event) => heard.push(event) });
  const polled = watchCeremony(at(RELAY, opened), opened.ticket, { road: "poll" });
  phone.types(opened);
  const [seen, last] = [await all(watch), await watch.closed];
  await complete(opened, seen);
  assert.deepEqual(heard, seen);
  assert.deepEqual(last, seen.at(-1));
  assert.deepEqual(await all(polled), seen);
  assert.deepEqual(await whole(opened, "poll"), seen);
  const rest = await all(watchCeremony(at(RELAY, opened), opened.ticket, { since: 30 }));
  assert.deepEqual(rest, seen.slice(5));
  const polledRest = await all(watchCeremony(at(RELAY, opened), opened.ticket, { since: 30, road: "poll" }));
  assert.deepEqual(polledRest, rest);
  const known = watchCeremony(at(RELAY, opened), opened.ticket, { since: 60 });
  assert.deepEqual([await all(known), (await known.closed).status], [[], "succeeded"], "nothing twice, and the end");
});

test("a connection lost at any event loses and repeats none", LIMIT, async () => {
  const cuts = STEPS.flatMap((seq) => [true, false].map((before) => [{ seq, before }]));
  const everywhere = STEPS.flatMap((seq) => [true, false].map((before) => ({ seq, before })));
  await Promise.all(
    [...cuts, everywhere].map(async (cutAt) => {
      const planned = cutAt.length;
      const proxy = await Proxy.start({ cutAt });
      const { opened, phone } = await begun();
      const watch = watchCeremony(at(proxy.url, opened), opened.ticket, { backoff: SOON });
      phone.types(opened);
      const seen = await all(watch);
      await complete(opened, seen);
      assert.deepEqual(await whole(opened, "events"), seen);
      const left = cutAt.filter(({ seq }) => seen.some((event) => event.seq === seq));
      assert.deepEqual(left, [], "the connection was cut at every event that was to be");
      // A loss after the last event has no effect.
      assert.ok(planned === 1 || proxy.asked.length >= 2 * seen.length, `${proxy.asked.length} requests`);
      const resumed = proxy.asked.filter(({ lastEventId }) => lastEventId !== undefined);
      assert.ok(planned === 1 || resumed.length >= seen.length - 1, "it goes on by number");
      for (const { path } of proxy.asked) assert.ok(!path.includes("ticket") && !path.includes("tkt_"), path);
    }),
  );
});

test("events that a proxy buffers come by long polling while they happen", LIMIT, async () => {
  const proxy = await Proxy.start({ buffers: true });
  const { opened, phone } = await begun();
  const seen: WatchEvent[] = [];
  const watch = watchCeremony(at(proxy.url, opened), opened.ticket, { firstByteMs: 1000, backoff: SOON });
  for await (const event of watch) {
    seen.push(event);
    if (event.step === "delivered") phone.types(opened);
  }
  await complete(opened, seen);
  assert.equal(proxy.asked.filter(({ path }) => path.endsWith("/events")).length, 1);
  assert.ok(proxy.asked.filter(({ path }) => path.includes("?wait=")).length > 1);
});

test("where events fail long polling is used, and Retry-After is respected", LIMIT, async () => {
  const refuses = (path: string, nth: number) => {
    if (path.endsWith("/events")) return { status: 502 };
    return nth <= 3 ? { status: 429, retryAfter: 1 } : undefined;
  };
  const proxy = await Proxy.start({ refuses });
  const { opened, phone } = await begun();
  phone.types(opened);
  const began = performance.now();
  await complete(opened, await all(watchCeremony(at(proxy.url, opened), opened.ticket, { backoff: SOON })));
  assert.ok(performance.now() - began >= 1000);
  assert.deepEqual(proxy.asked.slice(0, 3).map(({ path }) => path.endsWith("/events")), [true, true, false]);
});

test("a restart of the relay does not affect a watch, on either transport", LIMIT, async () => {
  const { opened, phone } = await begun();
  const roads = (["events", "poll"] as const).map((road) => {
    const seen: WatchEvent[] = [];
    const onEvent = (event: WatchEvent) => seen.push(event);
    const watch = watchCeremony(at(RELAY, opened), opened.ticket, { road, onEvent, backoff: SOON });
    return { seen, watch };
  });
  for (const { watch } of roads) for await (const event of watch) if (event.step === "delivered") break;
  await control("restart");
  phone.socket.redial();
  phone.types(opened);
  for (const { seen, watch } of roads) {
    await watch.closed;
    await complete(opened, seen);
  }
});

test("an aborted watch ends at any point and frees its place", LIMIT, async () => {
  const { opened, phone } = await begun();
  for (const road of ["events", "poll"] as const) {
    // More often than there are places.
    for (let turn = 0; turn < 20; turn += 1) {
      const controller = new AbortController();
      const watch = watchCeremony(at(RELAY, opened), opened.ticket, { road, signal: controller.signal });
      const why = new Error("enough");
      const reading = async () => {
        for await (const event of watch) if (event.step === "delivered") controller.abort(why);
      };
      await assert.rejects(reading, why);
      await assert.rejects(watch.closed, why);
    }
  }
  const aborted = watchCeremony(at(RELAY, opened), opened.ticket, { signal: AbortSignal.abort() });
  await assert.rejects(aborted.closed, { name: "AbortError" });
  phone.types(opened);
  await complete(opened, await whole(opened, "events"));
});

test("an invalid or foreign ticket ends the watch with an error", LIMIT, async () => {
  const [one, other] = [await open("one@example.com"), await open("other@example.com")];
  for (const road of ["events", "poll"] as const) {
    for (const ticket of ["tkt_none", other.ticket]) {
      const refused = await watchCeremony(at(RELAY, one), ticket, { road }).closed.catch((error: unknown) => error);
      assert.ok(refused instanceof WatchError, String(refused));
      assert.ok(refused.status === 401 || refused.status === 404, String(refused));
    }
  }
  await ask("DELETE", `/v1/ceremonies/${one.id}`);
  assert.equal((await watchCeremony(at(RELAY, one), one.ticket).closed).status, "cancelled");
});

test("an expired ticket ends the watch with an error", LIMIT, async () => {
  const opened = await open("late@example.com");
  await ask("DELETE", `/v1/ceremonies/${opened.id}`);
  assert.equal((await watchCeremony(at(RELAY, opened), opened.ticket).closed).status, "cancelled");
  await control("61 s later");
  for (const road of ["events", "poll"] as const) {
    const refused = watchCeremony(at(RELAY, opened), opened.ticket, { road });
    await assert.rejects(refused.closed, { name: "WatchError", status: 401, code: "unauthorized" });
  }
});
