// Waiting that can be called off, and the chance that keeps many clients apart.

/** Resolves after so many milliseconds; rejects with the signal's reason. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
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

/** The seconds of a `Retry-After`, in milliseconds; 0 without one. */
export function retryAfterMs(value: string | null | undefined): number {
  const seconds = Number(value ?? "");
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : 0;
}
