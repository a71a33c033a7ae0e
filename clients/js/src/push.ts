// Being woken: the address that the relay is given, and what a service worker does with a push
// (docs/protocol.md). A push carries the name of the wake and one sentence, and nothing of a
// ceremony: what there is, the app asks the relay.

/** How a device is woken. */
export interface PushTarget {
  service: "apns" | "fcm" | "webpush";
  /** The registration token of FCM, the device token of APNs in hexadecimal, or the endpoint of Web Push. */
  token: string;
  /** The bundle id with `apns`, the project id with `fcm`. */
  app?: string;
  /** With `webpush` alone. */
  keys?: { p256dh: string; auth: string };
}

/** A browser's `PushSubscription`, as far as it is needed. */
export interface PushSubscriptionLike {
  toJSON(): { endpoint?: string; keys?: Record<string, string> };
}

/** What `setPush` takes, of a browser's subscription. */
export function webPushTarget(subscription: PushSubscriptionLike): PushTarget {
  const { endpoint, keys: { p256dh, auth } = {} } = subscription.toJSON();
  if (!endpoint || !p256dh || !auth) throw new TypeError("not a push subscription");
  return { service: "webpush", token: endpoint, keys: { p256dh, auth } };
}

/** What a push says. */
export interface Wake {
  /** The wake's name, for a log; it says nothing. */
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

/** A service worker's `PushEvent`, as far as it is needed. */
export interface PushEventLike {
  data: { text(): string } | null;
  waitUntil(done: Promise<unknown>): void;
}

export interface PushOrder {
  /** The service worker's own `registration`. */
  registration: { showNotification(title: string, options: object): Promise<void> };
  /** The notification's title: the app's name. */
  title: string;
  /** Asks the relay what there is, such as `() => device.pullOnce()`. */
  pull: () => Promise<unknown>;
}

/**
 * What a service worker does with a push: shows the notification at once, as browsers want of each
 * push, and pulls. A newer one takes the place of the one before. False if it is no wake.
 */
export function handlePush(event: PushEventLike, { registration, title, pull }: PushOrder): boolean {
  const wake = wakeOf(event.data?.text());
  if (!wake) return false;
  const shown = registration.showNotification(title, { body: wake.body, tag: "fido-relay", renotify: true, data: { wake: wake.wake } });
  // Without the relay the notification counts all the same: the page pulls when it is opened.
  const pulled = shown.then(pull).catch(() => {});
  event.waitUntil(Promise.all([shown, pulled]));
  return true;
}
