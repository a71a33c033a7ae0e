// A hook for React, in a page or in React Native.

import { useEffect, useState } from "react";
import type { WatchEvent } from "./frames.js";
import { watchCeremony } from "./watch.js";
import type { WatchOptions, WatchState } from "./watch_options.js";

/** The state of a watch, for a component. */
export interface CeremonyView {
  /** All events so far, in order. */
  events: readonly WatchEvent[];
  /** The state of the connection. */
  state: WatchState;
  /** The last event: now the page asks its backend. */
  closed?: WatchEvent;
  /** Why the watch ended without the last event: a `WatchError`, or a `TypeError`. */
  error?: unknown;
}

export type CeremonyOptions = Pick<WatchOptions, "deadlineMs" | "road" | "firstByteMs" | "backoff" | "fetch">;

const BEGINNING: CeremonyView = { events: [], state: { kind: "connecting" } };

/**
 * Watches the ceremony at `url` with its ticket while the component is mounted and both stay the
 * same; does nothing while one is undefined. StrictMode's second mount starts again. The options are
 * those of the first render with this URL.
 */
export function useCeremony(url?: string, ticket?: string, options: CeremonyOptions = {}): CeremonyView {
  const [shown, setShown] = useState({ url, ticket, view: BEGINNING });
  useEffect(() => {
    if (url === undefined || ticket === undefined) return;
    const controller = new AbortController();
    const { signal } = controller;
    let view = BEGINNING;
    const show = (news: Partial<CeremonyView>) => {
      if (signal.aborted) return;
      view = { ...view, ...news };
      setShown({ url, ticket, view });
    };
    show({});
    const { closed } = watchCeremony(url, ticket, {
      ...options,
      signal,
      onEvent: (event) => show({ events: [...view.events, event] }),
      onState: (state) => show({ state }),
    });
    closed.then(
      (last) => show({ closed: last }),
      (error: unknown) => show({ error }),
    );
    return () => controller.abort();
  }, [url, ticket]);
  // Until the effect has run, the state belongs to the previous ceremony.
  return shown.url === url && shown.ticket === ticket ? shown.view : BEGINNING;
}
