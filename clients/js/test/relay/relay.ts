// The real relay under test: calls to it, and its users' phones.

import { createConnection } from "node:net";
import { afterEach } from "node:test";
import { DeviceSocket, generateDeviceKey, pairDevice, webCryptoSigner } from "../../src/index.js";
import type { Dial, DeviceEvent, DeviceSigner, DeviceSocketOptions, PairedDevice, Watch, WatchEvent } from "../../src/index.js";
import { dialNode } from "../../src/node.js";

function given(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: tests/it/js_client.rs runs these tests`);
  return value;
}

export const RELAY = given("FIDO_RELAY_TEST_URL");
const KEY = given("FIDO_RELAY_TEST_KEY");
const CONTROL = Number(given("FIDO_RELAY_TEST_CONTROL"));

/** An answer that this relay's FIDO2 server accepts, with blanks that must be preserved. */
export const CREDENTIAL = '{"id":"AQIDBA",  "rawId":"AQIDBA","type":"public-key","response":{ }}';

const ends: (() => void)[] = [];

/** Ends it after the test, whatever its result: open handles would keep the process alive. */
export function endsAfterwards(end: () => void): void {
  ends.push(end);
}

afterEach(() => {
  for (const end of ends.splice(0)) end();
});

export interface Paired {
  signer: DeviceSigner;
  device: PairedDevice;
}

export interface Opened {
  id: string;
  code: string;
  ticket: string;
}

/** Calls the relay as the initiator. */
export async function ask(method: string, path: string, body?: object): Promise<Response> {
  return fetch(`${RELAY}${path}`, {
    method,
    headers: { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
}

export async function open(username: string, more: object = {}): Promise<Opened> {
  const response = await ask("POST", "/v1/ceremonies", { type: "authentication", username, ...more });
  if (response.status !== 201) throw new Error(await response.text());
  return (await response.json()) as Opened;
}

/** Has the Rust side of the test do something to the relay, and waits until it is done. */
export function control(command: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(CONTROL, "127.0.0.1", () => socket.write(`${command}\n`));
    socket.once("data", () => {
      socket.end();
      resolve();
    });
    socket.once("error", reject);
  });
}

/** A device of this user's, paired by the token or by the typed code. */
export async function pair(username: string, typed = false): Promise<Paired> {
  const pairing = (await (await ask("POST", "/v1/pairings", { username })).json()) as Record<string, string>;
  const signer = await webCryptoSigner(await generateDeviceKey());
  const { pairing_token: token = "", typed_code: code = "" } = pairing;
  const secret = typed ? { typedCode: code.toLowerCase().replace("-", " ") } : { token };
  const order = { relay: RELAY, signer, platform: "other", name: "Test phone", allowLoopback: true } as const;
  return { signer, device: await pairDevice({ ...order, ...secret }) };
}

/** A phone whose user types the code of the page, and whose card signs at once. */
export class Phone {
  readonly events: DeviceEvent[] = [];
  readonly socket: DeviceSocket;
  readonly signatures: string[] = [];
  readonly #codes = new Map<string, string>();
  readonly #offered = new Set<string>();
  #waiting: (() => void)[] = [];

  constructor(
    paired: Paired,
    dial: Dial = dialNode,
    signal?: AbortSignal,
    more: Pick<DeviceSocketOptions, "nextSigner" | "fetch"> = {},
  ) {
    const onEvent = (event: DeviceEvent) => this.#event(event);
    this.socket = new DeviceSocket({ ...paired, ...more, dial, onEvent, ...(signal ? { signal } : {}) });
    endsAfterwards(() => this.socket.stop());
  }

  /** A paired, connected phone. */
  static async of(username: string, dial?: Dial): Promise<Phone> {
    const phone = new Phone(await pair(username), dial);
    await phone.until("connected");
    return phone;
  }

  /** The user reads the code in the page. */
  types(opened: Opened): void {
    this.#codes.set(opened.id, opened.code);
    if (this.#offered.has(opened.id)) this.socket.claim(opened.id, opened.code);
  }

  /** Waits for the nth event of this kind, counted from 1, and gives it. */
  async until<K extends DeviceEvent["kind"]>(kind: K, nth = 1): Promise<Extract<DeviceEvent, { kind: K }>> {
    for (;;) {
      const found = this.events.filter((event) => event.kind === kind)[nth - 1];
      if (found) return found as Extract<DeviceEvent, { kind: K }>;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  count(kind: DeviceEvent["kind"]): number {
    return this.events.filter((event) => event.kind === kind).length;
  }

  #event(event: DeviceEvent): void {
    this.events.push(event);
    if (event.kind === "offer" && !event.again) {
      const { ceremony_id: id } = event.offer;
      this.#offered.add(id);
      const code = this.#codes.get(id);
      if (code !== undefined) this.socket.claim(id, code);
    }
    if (event.kind === "challenge" && !event.again) {
      const { ceremony_id: id, attempt } = event.challenge;
      this.socket.cardPresent(id);
      this.signatures.push(attempt);
      this.socket.answer(id, attempt, CREDENTIAL);
    }
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

/** Every event of a watch. */
export async function all(watch: Watch): Promise<WatchEvent[]> {
  const events: WatchEvent[] = [];
  for await (const event of watch) events.push(event);
  return events;
}
