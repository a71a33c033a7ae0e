// A connection that dies silently, against the real relay, as browsers and React Native see it: no
// pings, and no end.

import assert from "node:assert/strict";
import test from "node:test";
import type { Dial } from "../../src/index.js";
import { dialNode } from "../../src/node.js";
import { open, pair, Phone } from "./relay.js";

const LIMIT = { timeout: 30_000 };
/** As tests/it/js_client.rs sets it. */
const HEARTBEAT_MS = 2_000;
/** For a busy machine. */
const SLACK_MS = 5_000;

/** Connections that hide pings, and deliver nothing once the network is gone. */
class Network {
  gone = false;
  #pongs = 0;
  #waiting: (() => void)[] = [];

  readonly dial: Dial = (url, protocol, listener) => {
    // A network that came back does not revive old connections.
    let dead = false;
    const carries = () => !(dead ||= this.gone);
    const line = dialNode(url, protocol, {
      alive: () => {},
      text: (message) => {
        if (!carries()) return;
        if (message.includes('"type":"pong"')) this.#ponged();
        listener.alive();
        listener.text(message);
      },
      ended: (end) => {
        if (carries()) listener.ended(end);
      },
    });
    return {
      send: (message) => {
        if (carries()) line.send(message);
      },
      close: () => line.close(),
      drop: () => line.drop(),
    };
  };

  #ponged(): void {
    this.#pongs += 1;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Waits until so many pongs have come in all. */
  async ponged(many: number): Promise<void> {
    while (this.#pongs < many) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

test("a probed connection stays if it answers, and is replaced within three heartbeats if it died", LIMIT, async () => {
  const network = new Network();
  const phone = new Phone(await pair("silent@example.com"), network.dial);
  await phone.until("connected");
  await network.ponged(1);
  phone.socket.wake();
  await network.ponged(2);
  assert.deepEqual(phone.events.map(({ kind }) => kind), ["connected"]);
  network.gone = true;
  const began = performance.now();
  await phone.until("disconnected");
  assert.ok(performance.now() - began < 3 * HEARTBEAT_MS + SLACK_MS);
  network.gone = false;
  await phone.until("connected", 2);
  const opened = await open("silent@example.com");
  phone.types(opened);
  assert.equal((await phone.until("closed")).closed.outcome, "succeeded");
});
