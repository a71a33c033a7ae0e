// How a device socket reaches its relay: whatever WebSocket there is. What it hides (pings, the
// HTTP status of a refusal) the device socket does without.

import type { SocketEnd } from "./reconnect.js";

/** Told by a line what happens on it. */
export interface LineListener {
  /** A text message. */
  text(message: string): void;
  /** Any sign of life, pings included. */
  alive(): void;
  /** It ended, or never came to be; nothing follows. */
  ended(end: SocketEnd): void;
}

/** One connection. */
export interface Line {
  send(message: string): void;
  /** Closes in order. */
  close(): void;
  /** Ends it without waiting for the other side. `ended` may or may not follow. */
  drop(): void;
}

/** Opens a line with this subprotocol; follows no redirect, offers no compression. */
export type Dial = (url: string, protocol: string, listener: LineListener) => Line;

/**
 * The platform's own `WebSocket`. Where it sends an `Origin`, as React Native's does, the operator
 * has to list that origin (`device_origins`).
 */
export const dialWebSocket: Dial = (url, protocol, listener) => {
  const socket = new WebSocket(url, protocol);
  socket.onmessage = ({ data }) => {
    listener.alive();
    if (typeof data === "string") listener.text(data);
  };
  socket.onclose = ({ code }) => listener.ended({ code });
  return {
    send: (message) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(message);
    },
    close: () => socket.close(1000),
    drop: () => socket.close(),
  };
};
