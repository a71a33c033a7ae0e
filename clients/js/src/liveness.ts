// Detects dead connections (docs/protocol.md, section 4). Most platforms hide WebSocket pings, and a
// lost network is silent, so a silent connection is probed.

/** Heartbeats of silence before a probe, and for its answer. */
const ASK_AFTER = 2;
const ANSWER_WITHIN = 0.5;

/** The watchdog of one connection at a time. */
export class Liveness {
  readonly #send: (frame: string) => void;
  readonly #dead: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When `#timer` ends the connection, by `performance.now()`; undefined while it only watches. */
  #until: number | undefined;
  #heartbeatMs: number | undefined;
  #heard = 0;
  #asked = 0;

  /** `dead` is called once, for a connection without any frame in time. */
  constructor(send: (frame: string) => void, dead: () => void) {
    this.#send = send;
    this.#dead = dead;
  }

  /** A connection was opened; its welcome is due within this time. */
  dialled(welcomeMs: number): void {
    this.#heartbeatMs = undefined;
    this.#expect(welcomeMs);
  }

  welcomed(heartbeatS: number): void {
    this.#heartbeatMs = heartbeatS * 1000;
    this.answered();
  }

  /** Any received frame, pings included. It does not answer a probe: it may have waited in a buffer. */
  heard(): void {
    this.#heard = performance.now();
  }

  /**
   * The `pong` of this id; or, without an id, an error about no ceremony: an older relay answers
   * `ping` with `unknown_type`.
   */
  answered(id = String(this.#asked)): void {
    if (this.#heartbeatMs === undefined || id !== String(this.#asked)) return;
    this.heard();
    this.#until = undefined;
    this.#look(this.#heartbeatMs);
  }

  /** Requires an answer of the connection within this time. */
  ask(withinMs: number): void {
    if (this.#timer === undefined) return;
    // A pending probe or handshake keeps its earlier limit.
    if (this.#until !== undefined && this.#until <= performance.now() + withinMs) return;
    if (this.#heartbeatMs !== undefined) {
      this.#asked += 1;
      this.#send(JSON.stringify({ type: "ping", id: String(this.#asked) }));
    }
    this.#expect(withinMs);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#timer = this.#until = undefined;
  }

  #look(heartbeatMs: number): void {
    clearTimeout(this.#timer);
    const left = this.#heard + heartbeatMs * ASK_AFTER - performance.now();
    this.#timer = setTimeout(() => {
      if (this.#heard + heartbeatMs * ASK_AFTER > performance.now()) this.#look(heartbeatMs);
      else this.ask(heartbeatMs * ANSWER_WITHIN);
    }, left);
  }

  #expect(withinMs: number): void {
    clearTimeout(this.#timer);
    this.#until = performance.now() + withinMs;
    this.#timer = setTimeout(() => {
      this.end();
      this.#dead();
    }, withinMs);
  }
}
