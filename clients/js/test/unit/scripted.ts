// A relay's side of a device socket, played by the test, on a clock that the test moves.

import type { TestContext } from "node:test";
import { DeviceSocket, type DeviceEvent, type DeviceSocketOptions, type LineListener, type RelayFrame } from "../../src/index.js";
import { relayFrames } from "./samples.js";

/** In the welcome that the relay's side says. */
export const HEARTBEAT_MS = 25_000;

const [hello, welcome] = ["hello", "welcome"].map((type) => relayFrames.find((frame) => frame.type === type)!);

export interface ScriptedLine {
  listener: LineListener;
  /** Frames of the device, acknowledgements left out. */
  sent: string[];
  dropped: boolean;
}

/** A device socket whose lines lead here. */
export class ScriptedRelay {
  readonly lines: ScriptedLine[] = [];
  readonly events: DeviceEvent[] = [];
  readonly socket: DeviceSocket;
  /** Milliseconds since the test began. */
  static #clock = 0;

  constructor(context: TestContext, more: Partial<DeviceSocketOptions> = {}) {
    this.socket = new DeviceSocket({
      device: { device_id: "dev_x", socket_url: "wss://relay.example/v1/device/socket" },
      signer: { jwk: { kty: "EC", crv: "P-256", x: "x", y: "y" }, sign: async () => new Uint8Array(64) },
      onEvent: (event) => this.events.push(event),
      dial: (_url, _protocol, listener) => {
        const line: ScriptedLine = { listener, sent: [], dropped: false };
        this.lines.push(line);
        return {
          send: (frame) => {
            if (!frame.includes('"type":"ack"')) line.sent.push(frame);
          },
          close: () => {},
          drop: () => {
            line.dropped = true;
          },
        };
      },
      ...more,
    });
    context.after(() => this.socket.stop());
  }

  /** Gives the clock and all timers to the test. */
  static holdTime(context: TestContext): void {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    context.mock.method(performance, "now", () => ScriptedRelay.#clock);
  }

  /** Lets time pass, tenths of seconds at a time; `meanwhile` runs in each. */
  static pass(context: TestContext, ms: number, meanwhile: () => void = () => {}): void {
    for (let passed = 0; passed < ms; passed += 100) {
      ScriptedRelay.#clock += 100;
      context.mock.timers.tick(100);
      meanwhile();
    }
  }

  get line(): ScriptedLine {
    return this.lines.at(-1)!;
  }

  /** On the newest line, as a message of the relay. */
  says(frame: RelayFrame | object): void {
    this.line.listener.alive();
    this.line.listener.text(JSON.stringify(frame));
  }

  /** Takes the proof on the newest line. */
  async welcomes(): Promise<void> {
    await settled();
    this.says(hello!);
    await settled();
    this.says(welcome!);
  }

  /** The questions on the newest line that are still open, taken off. */
  pings(): { id: string }[] {
    const { sent } = this.line;
    const frames = sent.splice(0).map((frame) => ({ frame, parsed: JSON.parse(frame) as { type: string; id: string } }));
    sent.push(...frames.filter(({ parsed }) => parsed.type !== "ping").map(({ frame }) => frame));
    return frames.filter(({ parsed }) => parsed.type === "ping").map(({ parsed }) => parsed);
  }
}

/** Waits until every promise that can settle has. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
