// Push: the address that the relay gets, and a service worker's handling of a push
// (docs/protocol.md, section 17). A push carries the wake's id and one sentence, and nothing of a
// ceremony: the app asks the relay.

/** A device's push address. */
export interface PushTarget {
  service: "apns" | "fcm" | "webpush";
  /** The registration token of FCM, the device token of APNs in hexadecimal, or the endpoint of Web Push. */
  token: string;
  /** The bundle id with `apns`, the project id with `fcm`. */
  app?: string;
  /** With `webpush` only. */
  keys?: { p256dh: string; auth: string };
}

/** A browser's `PushSubscription`, the fields used here. */
export interface PushSubscriptionLike {
  toJSON(): { endpoint?: string; keys?: Record<string, string> };
}

/** Converts a browser's subscription to the argument of `setPush`. */
export function webPushTarget(subscription: PushSubscriptionLike): PushTarget {
  const { endpoint, keys: { p256dh, auth } = {} } = subscription.toJSON();
  if (!endpoint || !p256dh || !auth) throw new TypeError("not a push subscription");
  return { service: "webpush", token: endpoint, keys: { p256dh, auth } };
}

/** The content of a push. */
export interface Wake {
  /** The wake's random id, for a log. */
  wake: string;
  /** The operator's sentence for the notification. */
  body: string;
}

/** The wake that a push carries, if it is one. */
export function wakeOf(text: string | undefined): Wake | undefined {
  try {
    const { wake, body } = JSON.parse(text ?? "") as Record<string, unknown>;
    return typeof wake === "string" && typeof body === "string" ? { wake, body } : undefined;
  } catch {
    return undefined;
  }
}

/** A service worker's `PushEvent`, the fields used here. */
export interface PushEventLike {
  data: { text(): string } | null;
  waitUntil(done: Promise<unknown>): void;
}

export interface PushOrder {
  /** The service worker's own `registration`. */
  registration: { showNotification(title: string, options: object): Promise<void> };
  /** The notification's title: the app's name. */
  title: string;
  /** Pulls, such as `() => device.pullOnce()`. */
  pull: () => Promise<unknown>;
}

/**
 * A service worker's handling of a push: shows the notification at once, as browsers require for each
 * push, and pulls. A newer notification replaces the previous one. False if it is not a wake.
 */
export function handlePush(event: PushEventLike, { registration, title, pull }: PushOrder): boolean {
  const wake = wakeOf(event.data?.text());
  if (!wake) return false;
  const shown = registration.showNotification(title, { body: wake.body, tag: "fido-relay", renotify: true, data: { wake: wake.wake } });
  // Without the relay the notification is still useful: the page pulls when it is opened.
  const pulled = shown.then(pull).catch(() => {});
  event.waitUntil(Promise.all([shown, pulled]));
  return true;
}
