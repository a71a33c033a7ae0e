import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { retryAfterMs } from "../../src/pause.js";
import type { WatchState } from "../../src/index.js";
import { watchCeremony, type Watch } from "../../src/watch.js";
import { settled } from "./scripted.js";

const URL_OF_ONE = "https://relay.example/v1/ceremonies/cer_x";

test("an invalid URL or ticket is a TypeError, not a network failure", async () => {
  const never: typeof fetch = () => assert.fail("it was sent");
  for (const [url, ticket] of [
    ["/v1/ceremonies/cer_x", "tkt_x"],
    ["ftp://relay.example/v1/ceremonies/cer_x", "tkt_x"],
    ["https://relay example/v1/ceremonies/cer_x", "tkt_x"],
    [URL_OF_ONE, "tkt_\u{1f511}"],
    [URL_OF_ONE, "tkt\n_x"],
  ] as const) {
    const watch = watchCeremony(url, ticket, { fetch: never });
    await assert.rejects(watch.closed, TypeError, `${url} ${ticket}`);
    await assert.rejects(watch[Symbol.asyncIterator]().next(), TypeError, `${url} ${ticket}`);
  }
});

test("waits after failures start at the given limit and double", async (context) => {
  context.mock.method(Math, "random", () => 1);
  const waits: number[] = [];
  const controller = new AbortController();
  const real = setTimeout;
  context.mock.method(globalThis, "setTimeout", (run: () => void, ms: number) => {
    // The limit of a request is not a wait.
    if (ms >= 5_000) return real(run, ms);
    waits.push(ms);
    if (waits.length === 3) controller.abort();
    return real(run, 0);
  });
  const offline: typeof fetch = () => Promise.reject(new TypeError("fetch failed"));
  const options = { fetch: offline, signal: controller.signal, backoff: { firstMs: 100, mostMs: 1_000 } };
  await assert.rejects(watchCeremony(URL_OF_ONE, "tkt_x", options).closed, { name: "AbortError" });
  assert.deepEqual(waits, [100, 200, 400]);
});

test("Retry-After is respected, up to ten minutes", () => {
  const waits = ["7", "600", "601", "99999999", "-1", "soon", null].map(retryAfterMs);
  assert.deepEqual(waits, [7_000, 600_000, 600_000, 600_000, 0, 0, 0]);
  const inAMinute = retryAfterMs(new Date(Date.now() + 60_000).toUTCString());
  assert.ok(inAMinute > 50_000 && inAMinute <= 60_000, `${inAMinute}`);
  assert.equal(retryAfterMs("Sun, 06 Nov 1994 08:49:37 GMT"), 0);
  assert.equal(retryAfterMs("whenever GMT"), 0);
});

const OFFLINE: typeof fetch = () => Promise.reject(new TypeError("fetch failed"));
const OPENED = { seq: 1, step: "opened", at: "2026-01-31T12:00:00.042Z" };

/** A network that never answers. */
const swallowed: typeof fetch = (_, init) =>
  new Promise((_, reject) => init?.signal?.addEventListener("abort", () => reject(new Error("aborted"))));

/** A stream that delivers this much and then nothing. */
function stream(text: string, signal?: AbortSignal | null): Response {
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(text));
      signal?.addEventListener("abort", () => controller.error(new Error("aborted")));
    },
  });
  return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
}

/** Aborts a watch after its test. */
function ending(context: TestContext): AbortSignal {
  const controller = new AbortController();
  context.after(() => controller.abort());
  return controller.signal;
}

test("an async function can return a watch", async (context) => {
  const begin = async () => watchCeremony(URL_OF_ONE, "tkt_x", { fetch: swallowed, signal: ending(context) });
  const watch: Watch = await begin();
  assert.deepEqual([watch.state.kind, "then" in watch], ["connecting", false]);
});

test("an unreachable relay is reported with every try and at the deadline", async () => {
  const states: WatchState[] = [];
  const watch = watchCeremony(URL_OF_ONE, "tkt_x", {
    fetch: OFFLINE,
    deadlineMs: 100,
    backoff: { firstMs: 5, mostMs: 5 },
    onState: (state) => states.push(state),
  });
  await assert.rejects(watch.closed, { name: "WatchError", status: 0, code: "unreachable" });
  await assert.rejects(watch[Symbol.asyncIterator]().next(), { name: "WatchError" });
  const troubles = states.flatMap((state) => (state.kind === "trouble" ? [state] : []));
  assert.ok(troubles.length > 1 && troubles.every(({ why }) => why === "unreachable"), JSON.stringify(states));
  assert.deepEqual(troubles.slice(0, 2).map(({ failures }) => failures), [1, 2]);
  assert.deepEqual([states.at(-1), watch.state], [{ kind: "over" }, { kind: "over" }]);
});

test("a withheld answer differs from no answer", async (context) => {
  Object.assign(globalThis, { location: new URL("https://shop.example/") });
  context.after(() => delete (globalThis as { location?: unknown }).location);
  const asked: string[] = [];
  const unlisted: typeof fetch = async (url, init) => {
    asked.push(`${init?.mode} ${url}`);
    return init?.mode === "no-cors" ? new Response() : OFFLINE("");
  };
  const why = (send: typeof fetch) =>
    new Promise((resolve) => {
      const onState = (state: WatchState) => state.kind === "trouble" && resolve(state.why);
      watchCeremony(`${URL_OF_ONE}/`, "tkt_x", { fetch: send, signal: ending(context), onState });
    });
  assert.equal(await why(unlisted), "hidden");
  assert.equal(asked[1], "no-cors https://relay.example/healthz");
  assert.equal(await why(OFFLINE), "unreachable");
});

test("a busy relay is reported with its status, and so is the end of trouble", async () => {
  const states: WatchState[] = [];
  const answers = [new Response("{}", { status: 503 }), new Response("{}", { status: 502 })];
  const view = { status: "cancelled", phase: "closed", progress: [{ ...OPENED, step: "closed" }] };
  const send: typeof fetch = async () => answers.shift() ?? Response.json(view);
  const options = { fetch: send, backoff: { firstMs: 1, mostMs: 1 }, onState: (state: WatchState) => states.push(state) };
  assert.equal((await watchCeremony(URL_OF_ONE, "tkt_x", options).closed).status, "cancelled");
  const reported = states.map((state) => (state.kind === "trouble" ? state.status : state.kind));
  assert.deepEqual(reported, [503, 502, "connected", "over"]);
});

test("a silent stream or poll is detected within 20 s", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const states: WatchState[] = [];
  const asked: string[] = [];
  const data = `data: ${JSON.stringify({ ...OPENED, status: "pending", phase: "offered" })}`;
  const dying: typeof fetch = async (url, init) => {
    asked.push(String(url));
    return asked.length === 1 ? stream(`retry: 1\n\nid: 1\n${data}\n\n`, init?.signal) : swallowed(url, init);
  };
  const onState = (state: WatchState) => states.push(state);
  const watch = watchCeremony(URL_OF_ONE, "tkt_x", { fetch: dying, onState, signal: ending(context) });
  for await (const event of watch) if (event.seq === 1) break;
  assert.deepEqual(watch.state, { kind: "connected", road: "events" });
  context.mock.timers.tick(15_000);
  await settled();
  assert.equal(asked.length, 1, "comments come every 15 s");
  context.mock.timers.tick(5_000);
  await settled();
  const [trouble] = states.flatMap((state) => (state.kind === "trouble" ? [state.why] : []));
  assert.equal(trouble, "silent");
  context.mock.timers.tick(0);
  await settled();
  assert.equal(asked.length, 2);
  context.mock.timers.tick(5_000);
  await settled();
  context.mock.timers.tick(0);
  await settled();
  assert.ok(asked[2]?.endsWith("?wait=0&since=1"), asked[2]);
  context.mock.timers.tick(20_000);
  await settled();
  assert.ok(states.filter((state) => state.kind === "trouble").length >= 2, JSON.stringify(states));
});

test("a long poll waits for less than the 20 s in which its death is detected", async (context) => {
  const asked: string[] = [];
  const view = { status: "pending", phase: "offered", progress: [OPENED] };
  await new Promise<void>((resolve) => {
    const polled: typeof fetch = (url, init) => {
      asked.push(String(url).split("?")[1] ?? "");
      if (asked.length === 1) return Promise.resolve(Response.json(view));
      resolve();
      return swallowed(url, init);
    };
    watchCeremony(URL_OF_ONE, "tkt_x", { fetch: polled, road: "poll", signal: ending(context) });
  });
  assert.deepEqual(asked, ["wait=0&since=0", "wait=14&since=1"]);
});

test("without a streaming fetch the watch starts with long polling", async (context) => {
  const own = Object.getOwnPropertyDescriptor(Response.prototype, "body")!;
  context.after(() => Object.defineProperty(Response.prototype, "body", own));
  delete (Response.prototype as { body?: unknown }).body;
  const first = await new Promise<string>((resolve) => {
    const asked: typeof fetch = (url, init) => {
      resolve(String(url));
      return swallowed(url, init);
    };
    context.mock.method(globalThis, "fetch", asked);
    watchCeremony(URL_OF_ONE, "tkt_x", { signal: ending(context) });
  });
  assert.equal(first, `${URL_OF_ONE}?wait=0&since=0`);
});

test("wake() retries at once during a wait", async (context) => {
  const asked: string[] = [];
  const failing: typeof fetch = async (url) => {
    asked.push(String(url));
    return OFFLINE(url);
  };
  context.mock.method(Math, "random", () => 1);
  const backoff = { firstMs: 3_600_000, mostMs: 3_600_000 };
  const watch = watchCeremony(URL_OF_ONE, "tkt_x", { fetch: failing, backoff, signal: ending(context) });
  await settled();
  assert.equal(asked.length, 1);
  watch.wake();
  await settled();
  assert.equal(asked.length, 2);
});

test("a page that goes offline closes its stream and reconnects when it is back", async (context) => {
  const page = new EventTarget();
  const methods = ["addEventListener", "removeEventListener"] as const;
  for (const name of methods) Object.assign(globalThis, { [name]: page[name].bind(page) });
  context.after(() => methods.forEach((name) => delete (globalThis as { [name: string]: unknown })[name]));
  let [online, asked] = [true, 0];
  const states: WatchState[] = [];
  const hour = 3_600_000;
  const network: typeof fetch = async (url, init) => {
    asked += 1;
    return online ? stream("retry: 1\n\n", init?.signal) : OFFLINE(url);
  };
  const reported = (kind: WatchState["kind"]) =>
    new Promise<void>((resolve) => {
      waiting = (state) => state.kind === kind && resolve();
    });
  let waiting: (state: WatchState) => unknown = () => {};
  const onState = (state: WatchState) => {
    states.push(state);
    waiting(state);
  };
  context.mock.method(Math, "random", () => 1);
  const options = { fetch: network, onState, backoff: { firstMs: hour, mostMs: hour }, signal: ending(context) };
  const connected = reported("connected");
  watchCeremony(URL_OF_ONE, "tkt_x", options);
  await connected;
  online = false;
  const trouble = reported("trouble");
  page.dispatchEvent(new Event("offline"));
  await trouble;
  online = true;
  const before = asked;
  page.dispatchEvent(new Event("online"));
  await settled();
  assert.equal(asked, before + 1);
  assert.deepEqual(states.map(({ kind }) => kind).slice(0, 3), ["connected", "connecting", "trouble"]);
});
