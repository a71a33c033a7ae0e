// A proxy in front of the relay that fails in the ways of proxies and networks.

import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { endsAfterwards, RELAY } from "./relay.js";

export interface Manners {
  /** Breaks the connection at the event of this number, with it or just before it; once for each. */
  cutAt?: { seq: number; before: boolean }[];
  /** Holds an answer back until it is whole. */
  buffers?: boolean;
  /** Answers instead of the relay, with this status. */
  refuses?: (path: string, nth: number) => { status: number; retryAfter?: number } | undefined;
}

export class Proxy {
  /** Path and query of every request, with the `Last-Event-ID`. */
  readonly asked: { path: string; lastEventId?: string }[] = [];
  readonly #server: Server;
  readonly #cut = new WeakSet<ServerResponse>();
  readonly #manners: Manners;

  private constructor(manners: Manners) {
    this.#manners = manners;
    this.#server = createServer((from, to) => this.#pass(from, to));
  }

  static async start(manners: Manners): Promise<Proxy> {
    const proxy = new Proxy(manners);
    endsAfterwards(() => proxy.#stop());
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #pass(from: IncomingMessage, to: ServerResponse): void {
    const path = from.url ?? "";
    const id = from.headers["last-event-id"];
    this.asked.push({ path, ...(typeof id === "string" ? { lastEventId: id } : {}) });
    const refusal = this.#manners.refuses?.(path, this.asked.length);
    if (refusal) {
      to.writeHead(refusal.status, refusal.retryAfter ? { "Retry-After": refusal.retryAfter } : {});
      to.end("{}");
      return;
    }
    const options = { method: from.method, headers: { ...from.headers, connection: "close" } };
    const on = request(`${RELAY}${path}`, options, (answer) => {
      const head = () => to.writeHead(answer.statusCode ?? 502, answer.headers);
      const held: Buffer[] = [];
      if (!this.#manners.buffers) head();
      answer.on("data", (piece: Buffer) => {
        if (this.#manners.buffers) held.push(piece);
        else this.#write(piece, to);
      });
      answer.on("end", () => {
        if (this.#manners.buffers) head();
        to.end(Buffer.concat(held));
      });
      answer.on("error", () => to.destroy());
    });
    on.on("error", () => to.destroy());
    to.on("close", () => on.destroy());
    on.end();
  }

  #write(piece: Buffer, to: ServerResponse): void {
    // Nothing follows a cut: no connection loses its middle.
    if (this.#cut.has(to)) return;
    const cuts = this.#manners.cutAt ?? [];
    // A chunk may hold several events: the cut is at the event, not at the chunk.
    const text = piece.toString();
    const found = cuts.findIndex(({ seq }) => text.includes(`id: ${seq}\n`));
    const cut = cuts[found];
    if (!cut) return void to.write(piece);
    cuts.splice(found, 1);
    this.#cut.add(to);
    const start = text.indexOf(`id: ${cut.seq}\n`);
    const end = cut.before ? start : text.indexOf("\n\n", start) + 2;
    to.write(Buffer.from(text.slice(0, end)), () => to.destroy());
  }
}
