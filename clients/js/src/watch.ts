// Watches one ceremony with its ticket, over fetch, so that the ticket is in a header and never in a
// URL.

import type { WatchEvent } from "./frames.js";
import type { WatchOptions, WatchState } from "./watch_options.js";
import { Watcher } from "./watcher.js";

/** Iterate over it for every event. It is not a promise, so an async function may return it. */
export interface Watch extends AsyncIterable<WatchEvent> {
  /** The last event. Rejects when the watch ends without it. */
  readonly closed: Promise<WatchEvent>;
  readonly state: WatchState;
  /** The network may be back: retries at once if it waits. Browsers' own events do the same. */
  wake(): void;
}

/**
 * Watches the ceremony at `url` (`https://relay…/v1/ceremonies/cer_…`) to its end: each event once
 * and in order, across lost connections and restarts. "succeeded" in a page means "now ask your
 * backend". `closed` rejects with a `TypeError` if the URL or the ticket is invalid.
 */
export function watchCeremony(url: string, ticket: string, options: WatchOptions = {}): Watch {
  const received: WatchEvent[] = [];
  const waiting = new Set<() => void>();
  const next = () => {
    for (const resolve of waiting) resolve();
    waiting.clear();
  };
  let over = false;
  let state: WatchState = { kind: "connecting" };
  const watcher = new Watcher(url.replace(/\/$/, ""), ticket, options, {
    event(event) {
      received.push(event);
      next();
      guarded(options.onEvent, event);
    },
    state(now) {
      if (now.kind !== "trouble" && now.kind === state.kind) return;
      state = now;
      guarded(options.onState, now);
    },
  });
  const closed = watcher.run().finally(() => {
    over = true;
    next();
  });
  // Callers that only iterate get the failure there.
  closed.catch(() => {});
  async function* events(): AsyncGenerator<WatchEvent> {
    for (let at = 0; ; ) {
      const event = received[at];
      if (event) {
        at += 1;
        yield event;
      } else if (over) {
        await closed;
        return;
      } else {
        await new Promise<void>((resolve) => waiting.add(resolve));
      }
    }
  }
  return {
    closed,
    get state() {
      return state;
    },
    wake: () => watcher.wake(),
    [Symbol.asyncIterator]: events,
  };
}

/** Calls a listener. Its errors must not affect the connection. */
function guarded<T>(listener: ((value: T) => void) | undefined, value: T): void {
  try {
    listener?.(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
