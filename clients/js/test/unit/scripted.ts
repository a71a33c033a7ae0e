// A scripted relay for a device socket, on a fake clock.

import type { TestContext } from "node:test";
import { DeviceSocket, type DeviceEvent, type DeviceSocketOptions, type LineListener, type RelayFrame } from "../../src/index.js";
import { relayFrames } from "./samples.js";

/** Values of the welcome. */
export const HEARTBEAT_MS = 25_000;

const [hello, welcome] = ["hello", "welcome"].map((type) => relayFrames.find((frame) => frame.type === type)!);

export interface ScriptedLine {
  listener: LineListener;
  /** Frames of the device, acknowledgements left out. */
  sent: string[];
  dropped: boolean;
}

/** A device socket whose connections lead here. */
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

  /** Replaces the clock and all timers. */
  static holdTime(context: TestContext): void {
    context.mock.timers.enable({ apis: ["setTimeout"] });
    context.mock.method(performance, "now", () => ScriptedRelay.#clock);
  }

  /** Advances the clock in tenths of seconds; `meanwhile` runs in each. */
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

  /** Sends a message of the relay on the newest connection. */
  says(frame: RelayFrame | object): void {
    this.line.listener.alive();
    this.line.listener.text(JSON.stringify(frame));
  }

  /** Accepts the proof on the newest connection. */
  async welcomes(): Promise<void> {
    await settled();
    this.says(hello!);
    await settled();
    this.says(welcome!);
  }

  /** The unanswered probes on the newest connection, removed from the list. */
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
