// Watching one ceremony with its ticket: server-sent events over fetch, so that the ticket goes into
// a header and never into a URL, and the long poll where events do not get through. It knows the
// relay's documents for initiators, and nothing of devices.

import { EventStreamParser } from "./event_stream.js";
import type { Phase, Step, WatchEvent } from "./frames.js";
import { backoff, pause, retryAfterMs, throwIfAborted } from "./pause.js";
import { detailOf, withDetail } from "./problem.js";

/** Comments come every 15 s: after this long without a byte a connection is dead. */
const SILENCE_MS = 40_000;
/** What a long poll asks for, and how much longer an answer may take. */
const POLL_S = 25;
const POLL_SLACK_MS = 15_000;

export interface WatchOptions {
  /** Calls the watch off: the promise and the iteration reject with its reason. */
  signal?: AbortSignal;
  /** Told of every event, in order. */
  onEvent?: (event: WatchEvent) => void;
  /** The number of the last event that is known already. */
  since?: number;
  /** The road that is taken first; the long poll never goes back to events. */
  road?: "events" | "poll";
  /** Milliseconds for a stream's first byte: a proxy that holds it back longer buffers. */
  firstByteMs?: number;
  /** The longest first wait after a failure, and the longest of all, in milliseconds. */
  backoff?: { firstMs: number; mostMs: number };
  /** In place of the global one. */
  fetch?: typeof fetch;
}

/** Iterate over it for every event, await it for the last one. */
export interface Watch extends AsyncIterable<WatchEvent>, Promise<WatchEvent> {}

/** The relay will not let this ticket watch, and asking again would not help. */
export class WatchError extends Error {
  override name = "WatchError";
  constructor(
    /** 401: the ticket is void, also 60 s after the end. 403: the page's origin is not listed. */
    readonly status: number,
    /** The problem's `code`, such as `unauthorized`. */
    readonly code: string,
    /** What the relay says is wrong, for a log: the field and what it takes. */
    readonly detail?: string,
  ) {
    super(`the relay refuses to be watched: ${status} ${code}${withDetail(detail)}`);
  }
}

/**
 * Watches the ceremony at `url` (`https://relay…/v1/ceremonies/cer_…`) to its end: each event once
 * and in order, over lost connections and restarts. "succeeded" in a page means "now ask your
 * backend". Rejects with a `TypeError` if the URL or the ticket is none that could be sent.
 */
export function watchCeremony(url: string, ticket: string, options: WatchOptions = {}): Watch {
  const told: WatchEvent[] = [];
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const resolve of waiting) resolve();
    waiting.clear();
  };
  let over = false;
  const watcher = new Watcher(url.replace(/\/$/, ""), ticket, options, (event) => {
    told.push(event);
    wake();
    try {
      options.onEvent?.(event);
    } catch (error) {
      // The listener's own fault is none of the connection's.
      queueMicrotask(() => {
        throw error;
      });
    }
  });
  const last = watcher.run().finally(() => {
    over = true;
    wake();
  });
  // Whoever only iterates meets the failure there.
  last.catch(() => {});
  async function* events(): AsyncGenerator<WatchEvent> {
    for (let next = 0; ; ) {
      const event = told[next];
      if (event) {
        next += 1;
        yield event;
      } else if (over) {
        await last;
        return;
      } else {
        await new Promise<void>((resolve) => waiting.add(resolve));
      }
    }
  }
  return Object.assign(last, { [Symbol.asyncIterator]: events });
}

/** Why a road ended without the last event. `waitMs` is what the relay asked for. */
interface Broken {
  waitMs?: number;
  /** The wait is the relay's own and has its jitter already. */
  exact?: boolean;
  /** Nothing failed: what was asked was answered. */
  answered?: boolean;
}

class Watcher {
  readonly #url: string;
  readonly #ticket: string;
  readonly #tell: (event: WatchEvent) => void;
  readonly #options: WatchOptions;
  readonly #first: number;
  readonly #most: number;
  #seen: number;
  #last: WatchEvent | undefined;
  #road: "events" | "poll";
  /** Streams in a row that brought no event. */
  #barren = 0;

  constructor(url: string, ticket: string, options: WatchOptions, tell: (event: WatchEvent) => void) {
    this.#url = url;
    this.#ticket = ticket;
    this.#tell = tell;
    this.#options = options;
    this.#seen = options.since ?? 0;
    this.#road = options.road ?? "events";
    this.#first = options.backoff?.firstMs ?? 1000;
    this.#most = options.backoff?.mostMs ?? 30_000;
  }

  async run(): Promise<WatchEvent> {
    const { signal } = this.#options;
    // What can never be sent would look like a network that is down, for ever.
    new Headers({ Authorization: `Bearer ${this.#ticket}` });
    if (!/^https?:/.test(new URL(this.#url, globalThis.location?.href).href)) {
      throw new TypeError("a relay is watched by http or https");
    }
    for (let failures = 0; ; ) {
      throwIfAborted(signal);
      const [before, began, road] = [this.#seen, performance.now(), this.#road];
      let broken: Broken;
      try {
        broken = road === "events" ? await this.#stream() : await this.#poll();
      } catch (error) {
        throwIfAborted(signal);
        if (error instanceof WatchError) throw error;
        broken = {};
      }
      if (this.#last?.step === "closed") return this.#last;
      const moved = this.#seen > before;
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
      await pause(wait, signal);
    }
  }

  /** One connection for events, to its end. */
  async #stream(): Promise<Broken> {
    const connection = new Connection(this.#options.signal);
    try {
      connection.limit(this.#options.firstByteMs ?? 5000);
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      if (this.#seen > 0) headers["Last-Event-ID"] = String(this.#seen);
      const response = await this.#fetch(`${this.#url}/events`, headers, connection);
      const refused = await this.#refusal(response);
      if (refused) return refused;
      // 204: closed, and all of it was seen before; the long poll tells how it ended.
      const streams = response.headers.get("content-type")?.startsWith("text/event-stream");
      if (response.status === 204 || !streams || !response.body) {
        this.#road = "poll";
        return { waitMs: 0, exact: true };
      }
      return await this.#read(response.body.getReader(), connection);
    } catch (error) {
      if (!connection.late) throw error;
      // Held back, or dead. One that had spoken may have died with its network.
      if (!connection.spoke) this.#road = "poll";
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
        connection.limit(SILENCE_MS);
        for (const item of parser.push(decoder.decode(value, { stream: true }))) {
          if (item.kind === "retry") retry = item.ms;
          if (item.kind === "event") this.#take(JSON.parse(item.data) as WatchEvent);
        }
        if (this.#last?.step === "closed") return {};
      }
    } catch (error) {
      if (connection.late || this.#options.signal?.aborted) throw error;
      return ended();
    }
  }

  /** One long poll. */
  async #poll(): Promise<Broken> {
    const connection = new Connection(this.#options.signal);
    try {
      connection.limit(POLL_S * 1000 + POLL_SLACK_MS);
      const query = `wait=${POLL_S}&since=${this.#seen}`;
      const response = await this.#fetch(`${this.#url}?${query}`, {}, connection);
      const refused = await this.#refusal(response);
      if (refused) return refused;
      const view = (await response.json()) as View;
      for (const event of eventsOf(view)) this.#take(event);
      if (view.phase === "closed") this.#last ??= eventsOf(view).at(-1);
      return { answered: true };
    } finally {
      connection.end();
    }
  }

  #fetch(url: string, headers: Record<string, string>, connection: Connection): Promise<Response> {
    // Called without a `this` of ours, which browsers refuse.
    const send = this.#options.fetch ?? fetch;
    return send(url, {
      headers: { ...headers, Authorization: `Bearer ${this.#ticket}` },
      signal: connection.signal,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
  }

  /** What a status other than success asks for; throws if asking again would not help. */
  async #refusal(response: Response): Promise<Broken | undefined> {
    if (response.ok) return undefined;
    const { status } = response;
    const wait = retryAfterMs(response.headers.get("retry-after"));
    const problem = (await response.json().catch(() => ({}))) as { code?: unknown; detail?: unknown };
    if (status === 408 || status === 429 || status >= 500) return { waitMs: wait };
    const code = typeof problem.code === "string" ? problem.code : "unknown";
    throw new WatchError(status, code, detailOf(problem));
  }

  #take(event: WatchEvent): void {
    if (event.seq <= this.#seen) return;
    this.#seen = event.seq;
    this.#last = event;
    this.#tell(event);
  }
}

/** One request, which ends by the watch's signal or by its own clock. */
class Connection {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #stop = () => this.#controller.abort(this.#outer?.reason);
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Its own clock ended it. */
  late = false;
  /** A byte of the body has come. */
  spoke = false;

  constructor(outer: AbortSignal | undefined) {
    this.#outer = outer;
    outer?.addEventListener("abort", this.#stop, { once: true });
    if (outer?.aborted) this.#stop();
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
    this.#outer?.removeEventListener("abort", this.#stop);
    // What was not read to its end must not hold its place at the relay.
    this.#controller.abort();
  }
}

/** The answer of a long poll, as far as it is needed. */
interface View {
  status: WatchEvent["status"];
  phase: WatchEvent["phase"];
  progress: { seq: number; step: WatchEvent["step"]; at: string }[];
  reason?: NonNullable<WatchEvent["reason"]>;
}

const LEADS_TO: { [step in Step]?: Phase } = {
  claimed: "preparing",
  challenged: "challenged",
  verifying: "verifying",
  closed: "closed",
};

/** The events that make up what a long poll tells: word for word what the stream says. */
function eventsOf(view: View): WatchEvent[] {
  const steps = view.progress.map((entry) => entry.step);
  // With binding `none` a challenge is prepared from the first.
  const code = steps.includes("claimed") || (view.phase !== "preparing" && !steps.includes("challenged"));
  let phase: WatchEvent["phase"] = code ? "offered" : "preparing";
  return view.progress.map(({ seq, step, at }) => {
    phase = LEADS_TO[step as Step] ?? phase;
    if (step !== "closed") return { seq, step, at, status: "pending", phase };
    const end = { seq, step, at, status: view.status, phase };
    return view.reason === undefined ? end : { ...end, reason: view.reason };
  });
}
