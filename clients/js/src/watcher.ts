// The connections of one watch: server-sent events over fetch, and long polling where events do not
// get through.

import { EventStreamParser } from "./event_stream.js";
import type { WatchEvent } from "./frames.js";
import { backoff, pause, reasonOf, retryAfterMs } from "./pause.js";
import { eventsOf, type View } from "./poll_view.js";
import { detailOf } from "./problem.js";
import { WatchError, type WatchOptions, type WatchState, type WatchTrouble } from "./watch_options.js";

/** Keep-alive comments come every 15 s: a stream that is silent for longer is dead. */
const SILENCE_MS = 18_000;
/** The wait of a long poll, and how much longer its answer may take. */
const POLL_S = 14;
const POLL_SLACK_MS = 5_000;
/** For a poll without a wait, and for the check whether the relay's host answers at all. */
const QUICK_MS = 10_000;
/** A ceremony takes 10 minutes at most, and its ticket expires a minute later. */
const DEADLINE_MS = 15 * 60_000;
/** Timers overflow beyond this. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Whether the platform's `fetch` streams the body. */
function streams(): boolean {
  return typeof Response !== "undefined" && "body" in Response.prototype;
}

/** Why a connection ended without the last event. */
interface Broken {
  /** The delay that the relay requested. */
  waitMs?: number;
  /** The delay is the relay's own and already has jitter. */
  exact?: boolean;
  /** Nothing failed: the request was answered. */
  answered?: boolean;
  /** The trouble to report. */
  why?: WatchTrouble["why"];
  status?: number;
}

/** Receives events and states. */
export interface Listener {
  event(event: WatchEvent): void;
  state(state: WatchState): void;
}

/** A watch, from its first request to its end. */
export class Watcher {
  readonly #url: string;
  readonly #ticket: string;
  readonly #listener: Listener;
  readonly #options: WatchOptions;
  readonly #first: number;
  readonly #most: number;
  readonly #stopped = new AbortController();
  /** The reason of the stop. React Native's signals have none. */
  #reason: unknown;
  #awake = new AbortController();
  /** The request in flight. */
  #connection: Connection | undefined;
  /** The number of the last event, after which the relay continues. */
  #since: number;
  /** The numbers of all events. They need not grow. */
  readonly #seen: Set<number>;
  #last: WatchEvent | undefined;
  #road: "events" | "poll";
  #connected = false;
  #trouble: WatchTrouble["why"] | undefined;
  /** Consecutive streams without an event. */
  #barren = 0;

  constructor(url: string, ticket: string, options: WatchOptions, listener: Listener) {
    this.#url = url;
    this.#ticket = ticket;
    this.#listener = listener;
    this.#options = options;
    this.#since = options.since ?? 0;
    this.#seen = new Set([this.#since]);
    this.#road = options.road ?? (options.fetch || streams() ? "events" : "poll");
    this.#first = options.backoff?.firstMs ?? 1000;
    this.#most = options.backoff?.mostMs ?? 30_000;
  }

  wake(): void {
    this.#awake.abort();
  }

  /** Watches until the end, the signal or the deadline. */
  async run(): Promise<WatchEvent> {
    const { signal, deadlineMs = DEADLINE_MS } = this.#options;
    const stop = (reason: unknown) => {
      this.#reason ??= reason;
      this.#stopped.abort();
      this.wake();
    };
    const abort = () => stop(signal && reasonOf(signal));
    const late = () => stop(new WatchError(0, this.#trouble ?? "deadline"));
    const deadline = setTimeout(late, Math.min(deadlineMs, LONGEST_TIMER_MS));
    const shown = () => globalThis.document?.visibilityState === "visible" && this.wake();
    const back = () => this.wake();
    // An open connection is most likely dead; a new one will tell.
    const gone = () => this.#connection?.end();
    signal?.addEventListener("abort", abort, { once: true });
    globalThis.addEventListener?.("online", back);
    globalThis.addEventListener?.("offline", gone);
    globalThis.document?.addEventListener("visibilitychange", shown);
    if (signal?.aborted) abort();
    try {
      return await this.#watch();
    } finally {
      clearTimeout(deadline);
      signal?.removeEventListener("abort", abort);
      globalThis.removeEventListener?.("online", back);
      globalThis.removeEventListener?.("offline", gone);
      globalThis.document?.removeEventListener("visibilitychange", shown);
      this.#listener.state({ kind: "over" });
    }
  }

  #throwIfStopped(): void {
    if (this.#stopped.signal.aborted) throw this.#reason;
  }

  async #watch(): Promise<WatchEvent> {
    // An invalid request would look like a network failure for ever.
    new Headers({ Authorization: `Bearer ${this.#ticket}` });
    if (!/^https?:/.test(new URL(this.#url, globalThis.location?.href).href)) {
      throw new TypeError("a watch URL must be http or https");
    }
    for (let failures = 0; ; ) {
      this.#throwIfStopped();
      this.#awake = new AbortController();
      const [before, began, road] = [this.#seen.size, performance.now(), this.#road];
      let broken: Broken;
      try {
        broken = road === "events" ? await this.#stream() : await this.#poll();
      } catch (error) {
        this.#throwIfStopped();
        if (error instanceof WatchError) throw error;
        broken = { why: await this.#noAnswer() };
        this.#throwIfStopped();
      }
      if (this.#last?.step === "closed") return this.#last;
      const moved = this.#seen.size > before;
      failures = moved ? 0 : failures + 1;
      if (road === "events") {
        this.#barren = moved ? 0 : this.#barren + 1;
        // Other requests may get through where streams do not.
        if (this.#barren >= 2) this.#road = "poll";
      } else if (broken.answered && (moved || performance.now() - began > 1000)) {
        failures = 0;
        continue;
      }
      const chance = backoff(Math.max(0, failures - 1), this.#first, this.#most);
      const wait = broken.exact ? Math.min(broken.waitMs ?? 0, this.#most) : (broken.waitMs ?? 0) + chance;
      this.#tell(broken, failures, wait);
      await pause(wait, this.#awake.signal).catch(() => {});
    }
  }

  /** Reports the state when a connection has ended. */
  #tell({ answered, why, status }: Broken, failures: number, retryInMs: number): void {
    if (answered) return;
    this.#connected = false;
    this.#trouble = why;
    if (!why) return this.#listener.state({ kind: "connecting" });
    const more = status === undefined ? {} : { status };
    this.#listener.state({ kind: "trouble", why, ...more, failures: Math.max(1, failures), retryInMs });
  }

  /** Data from the relay arrived. */
  #heard(road: "events" | "poll"): void {
    if (this.#connected) return;
    this.#connected = true;
    this.#trouble = undefined;
    this.#listener.state({ kind: "connected", road });
  }

  /**
   * Distinguishes an answer that the browser withholds from no answer. A page may send a request whose
   * answer it cannot read; it learns only that an answer came.
   */
  async #noAnswer(): Promise<"unreachable" | "hidden"> {
    if (globalThis.location === undefined) return "unreachable";
    const connection = new Connection(this.#stopped.signal);
    try {
      connection.limit(QUICK_MS);
      const send = this.#options.fetch ?? fetch;
      const base = this.#url.replace(/\/v1\/ceremonies\/[^/]*$/, "");
      await send(`${base}/healthz`, { mode: "no-cors", credentials: "omit", signal: connection.signal });
      return "hidden";
    } catch {
      return "unreachable";
    } finally {
      connection.end();
    }
  }

  /** One event stream, to its end. */
  async #stream(): Promise<Broken> {
    const connection = (this.#connection = new Connection(this.#stopped.signal));
    try {
      connection.limit(this.#options.firstByteMs ?? 5000);
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (this.#since > 0) headers["Last-Event-ID"] = String(this.#since);
      const response = await this.#fetch(`${this.#url}/events`, headers, connection);
      const refused = await this.#refusal(response);
      if (refused) return refused;
      // 204: closed, and all events were seen before; the long poll has the outcome.
      const events = response.headers.get("content-type")?.startsWith("text/event-stream");
      if (response.status === 204 || !events || !response.body) {
        this.#road = "poll";
        return { waitMs: 0, exact: true };
      }
      return await this.#read(response.body.getReader(), connection);
    } catch (error) {
      if (!connection.late) throw error;
      // Buffered, or dead. One that delivered before may have lost its network.
      if (connection.spoke) return { waitMs: 0, exact: true, why: "silent" };
      this.#road = "poll";
      return { waitMs: 0, exact: true };
    } finally {
      connection.end();
    }
  }

  async #read(body: ReadableStreamDefaultReader<Uint8Array>, connection: Connection): Promise<Broken> {
    const parser = new EventStreamParser();
    const decoder = new TextDecoder();
    let retry: number | undefined;
    const ended = (): Broken => (retry === undefined ? {} : { waitMs: retry, exact: true });
    try {
      for (;;) {
        const { done, value } = await body.read();
        if (done) return ended();
        connection.spoke = true;
        this.#heard("events");
        connection.limit(SILENCE_MS);
        for (const item of parser.push(decoder.decode(value, { stream: true }))) {
          if (item.kind === "retry") retry = item.ms;
          if (item.kind === "event") this.#take(JSON.parse(item.data) as WatchEvent);
        }
        if (this.#last?.step === "closed") return {};
      }
    } catch (error) {
      if (connection.late || this.#stopped.signal.aborted) throw error;
      return ended();
    }
  }

  /** One long poll. */
  async #poll(): Promise<Broken> {
    const connection = (this.#connection = new Connection(this.#stopped.signal));
    // After trouble ask without a wait, so that the end of the trouble is known at once.
    const wait = this.#connected ? POLL_S : 0;
    try {
      connection.limit(wait ? wait * 1000 + POLL_SLACK_MS : QUICK_MS);
      const query = `wait=${wait}&since=${this.#since}`;
      const response = await this.#fetch(`${this.#url}?${query}`, {}, connection);
      const refused = await this.#refusal(response);
      if (refused) return refused;
      const view = (await response.json()) as View;
      const events = eventsOf(view);
      // The answer begins with the first step; a stream begins after `since`.
      const known = events.findIndex(({ seq }) => seq === this.#since);
      for (const event of events.slice(known + 1)) this.#take(event);
      if (view.phase === "closed") this.#last ??= events.at(-1);
      this.#heard("poll");
      // The next request waits at the relay.
      return wait ? { answered: true } : { waitMs: 0, exact: true, answered: true };
    } catch (error) {
      if (connection.late) return { why: "silent" };
      throw error;
    } finally {
      connection.end();
    }
  }

  #fetch(url: string, headers: Record<string, string>, connection: Connection): Promise<Response> {
    // Browsers refuse `fetch` with a foreign `this`.
    const send = this.#options.fetch ?? fetch;
    return send(url, {
      headers: { ...headers, Authorization: `Bearer ${this.#ticket}` },
      // No `cache` option: the relay forbids caching anyway, and React Native's fetch would add a query
      // parameter, which the relay refuses.
      signal: connection.signal,
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
  }

  /** Handles an unsuccessful status; throws if a retry would not help. */
  async #refusal(response: Response): Promise<Broken | undefined> {
    if (response.ok) return undefined;
    const { status } = response;
    const wait = retryAfterMs(response.headers.get("retry-after"));
    const problem = (await response.json().catch(() => ({}))) as { code?: unknown; detail?: unknown };
    if (status === 408 || status === 429 || status >= 500) return { waitMs: wait, why: "busy", status };
    const code = typeof problem.code === "string" ? problem.code : "unknown";
    throw new WatchError(status, code, detailOf(problem));
  }

  #take(event: WatchEvent): void {
    if (this.#seen.has(event.seq)) return;
    this.#seen.add(event.seq);
    this.#since = event.seq;
    this.#last = event;
    this.#listener.event(event);
  }
}

/** One request, which the watch's signal or its own timer ends. */
class Connection {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal;
  readonly #stop = () => this.#controller.abort();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Its own timer ended it. */
  late = false;
  /** A byte of the body has come. */
  spoke = false;

  constructor(outer: AbortSignal) {
    this.#outer = outer;
    outer.addEventListener("abort", this.#stop, { once: true });
    if (outer.aborted) this.#stop();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends it after so many milliseconds from now. */
  limit(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.late = true;
      this.#controller.abort();
    }, ms);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#outer.removeEventListener("abort", this.#stop);
    // An unread body must not hold its place at the relay.
    this.#controller.abort();
  }
}
