// Waiting with a signal, and random delays that keep many clients apart.

/** The reason of the abort. React Native's signals have none. */
export function reasonOf(signal: AbortSignal): unknown {
  return signal.reason ?? Object.assign(new Error("the operation was aborted"), { name: "AbortError" });
}

/** Resolves after so many milliseconds; rejects with the signal's reason. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(reasonOf(signal));
    const stop = () => {
      clearTimeout(timer);
      if (signal) reject(reasonOf(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Full jitter: a random time between 0 and `first` doubled by every failure, at most `most`. */
export function backoff(failures: number, first: number, most: number, random = Math.random): number {
  return random() * Math.min(most, first * 2 ** Math.min(failures, 16));
}

/** Longer waits are capped: they would look like a hanging client, and overflow its timer. */
const RETRY_AFTER_MOST_S = 600;

/** A `Retry-After` in milliseconds, at most 10 minutes; 0 without one. The relay sends seconds; a
 * proxy may send a date (RFC 9110, section 10.2.3). */
export function retryAfterMs(value: string | null | undefined): number {
  const seconds = value?.endsWith(" GMT") ? (Date.parse(value) - Date.now()) / 1000 : Number(value ?? "");
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, RETRY_AFTER_MOST_S) * 1000 : 0;
}
