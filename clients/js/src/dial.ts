// How a device socket connects to its relay: any WebSocket. The device socket does without what it
// hides (pings, the HTTP status of a refusal).

import type { SocketEnd } from "./reconnect.js";

/** Receives the events of a connection. */
export interface LineListener {
  /** A text message. */
  text(message: string): void;
  /** Any received frame, pings included. */
  alive(): void;
  /** It ended, or was never established; no event follows. */
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

/** Connects with this subprotocol; follows no redirect, offers no compression. */
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
