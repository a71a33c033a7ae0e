// A connection for Node without a library: RFC 6455 over node:http, because most WebSocket classes
// lack what is needed here: it sends no Origin, offers no compression, sees pings, and sees the HTTP
// status and Retry-After of a refusal.

import { createHash, randomBytes } from "node:crypto";
import { request as requestHttp, type RequestOptions } from "node:http";
import { request as requestHttps } from "node:https";
import type { Duplex } from "node:stream";
import type { Dial, Line, LineListener } from "./dial.js";
import { retryAfterMs } from "./pause.js";
import type { SocketEnd } from "./reconnect.js";

/** The largest accepted message: options of a FIDO2 server may be large. */
const MESSAGE_BYTES = 1024 * 1024;
const [CONTINUED, TEXT, CLOSE, PING, PONG] = [0x0, 0x1, 0x8, 0x9, 0xa];

/** Connects with the app's TLS options, such as a `ca`. */
export function dialer(options: RequestOptions & { ca?: string | Buffer } = {}): Dial {
  return (url, protocol, listener) => new NodeLine(url, protocol, listener, options);
}

/** Connects with the system's roots. */
export const dialNode: Dial = dialer();

class NodeLine implements Line {
  readonly #listener: LineListener;
  readonly #request: ReturnType<typeof requestHttp>;
  #socket: Duplex | undefined;
  #buffer: Buffer = Buffer.alloc(0);
  #message: Buffer[] = [];
  #ended = false;

  constructor(url: string, protocol: string, listener: LineListener, options: RequestOptions) {
    this.#listener = listener;
    const key = randomBytes(16).toString("base64");
    const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    const request = url.startsWith("wss:") ? requestHttps : requestHttp;
    this.#request = request(url.replace(/^ws/, "http"), {
      ...options,
      agent: false,
      headers: {
        Connection: "Upgrade",
        Upgrade: "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Protocol": protocol,
      },
    });
    this.#request.on("error", () => this.#end({ code: 1006 }));
    this.#request.on("response", (response) => {
      const wait = retryAfterMs(response.headers["retry-after"]);
      this.#end({ status: response.statusCode ?? 0, ...(wait ? { retryAfterMs: wait } : {}) });
    });
    this.#request.on("upgrade", (response, socket, head) => {
      const agreed = response.headers["sec-websocket-accept"] === accept;
      if (!agreed || response.headers["sec-websocket-protocol"] !== protocol) return this.#end({ code: 1002 });
      this.#socket = socket;
      socket.on("data", (bytes: Buffer) => this.#read(bytes));
      socket.on("error", () => this.#end({ code: 1006 }));
      socket.on("close", () => this.#end({ code: 1006 }));
      if (head.length) this.#read(head);
    });
    this.#request.end();
  }

  send(message: string): void {
    this.#write(TEXT, Buffer.from(message));
  }

  close(): void {
    this.#write(CLOSE, Buffer.from([0x03, 0xe8]));
    setTimeout(() => this.#end({ code: 1000 }), 1000).unref();
  }

  drop(): void {
    this.#end({ code: 1006 });
  }

  #end(end: SocketEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket?.destroy();
    this.#request.destroy();
    this.#listener.ended(end);
  }

  #write(opcode: number, payload: Buffer): void {
    if (!this.#socket || this.#ended) return;
    const { length } = payload;
    const head = length < 126 ? Buffer.alloc(2) : length < 65536 ? Buffer.alloc(4) : Buffer.alloc(10);
    head[0] = 0x80 | opcode;
    head[1] = 0x80 | (head.length === 2 ? length : head.length === 4 ? 126 : 127);
    if (head.length === 4) head.writeUInt16BE(length, 2);
    if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
    const mask = randomBytes(4);
    const masked = payload.map((byte, at) => byte ^ (mask[at & 3] ?? 0));
    this.#socket.write(Buffer.concat([head, mask, masked]));
  }

  #read(bytes: Buffer): void {
    this.#listener.alive();
    this.#buffer = this.#buffer.length ? Buffer.concat([this.#buffer, bytes]) : bytes;
    while (!this.#ended && this.#buffer.length >= 2) {
      const buffer = this.#buffer;
      const short = buffer[1] ?? 0;
      const start = short < 126 ? 2 : short === 126 ? 4 : 10;
      if (buffer.length < start) return;
      const length = start === 2 ? short : start === 4 ? buffer.readUInt16BE(2) : Number(buffer.readBigUInt64BE(2));
      // Servers do not mask frames, and no extension was offered.
      if (short & 0x80 || (buffer[0] ?? 0) & 0x70) return this.#end({ code: 1002 });
      if (length > MESSAGE_BYTES) return this.#end({ code: 1009 });
      if (buffer.length < start + length) return;
      this.#buffer = buffer.subarray(start + length);
      this.#frame(buffer[0] ?? 0, buffer.subarray(start, start + length));
    }
  }

  #frame(first: number, payload: Buffer): void {
    const opcode = first & 0x0f;
    if (opcode === PING) return this.#write(PONG, payload);
    if (opcode === PONG) return;
    if (opcode === CLOSE) {
      this.#write(CLOSE, payload.subarray(0, 2));
      return this.#end({ code: payload.length >= 2 ? payload.readUInt16BE(0) : 1005 });
    }
    const begins = this.#message.length === 0;
    if (begins !== (opcode === TEXT) || (!begins && opcode !== CONTINUED)) return this.#end({ code: 1003 });
    this.#message.push(Buffer.from(payload));
    if (this.#message.reduce((sum, part) => sum + part.length, 0) > MESSAGE_BYTES) return this.#end({ code: 1009 });
    if (!(first & 0x80)) return;
    const message = Buffer.concat(this.#message).toString();
    this.#message = [];
    this.#listener.text(message);
  }
}
