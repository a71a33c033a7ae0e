// Parser for server-sent events (WHATWG HTML, section 9.2.6), as far as a relay uses them.

/** An item of the stream. `comment` is only a keep-alive. */
export type StreamItem =
  | { kind: "event"; id: string; data: string }
  | { kind: "retry"; ms: number }
  | { kind: "comment" };

/** Accepts the text in pieces of any size. */
export class EventStreamParser {
  #rest = "";
  #id = "";
  #data: string[] = [];

  /** The items that this piece completes. */
  push(piece: string): StreamItem[] {
    const items: StreamItem[] = [];
    const lines = (this.#rest + piece).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#line(line.replace(/\r$/, ""), items);
    return items;
  }

  #line(line: string, items: StreamItem[]): void {
    if (line === "") {
      if (this.#data.length) items.push({ kind: "event", id: this.#id, data: this.#data.join("\n") });
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return void items.push({ kind: "comment" });
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#data.push(value);
    else if (name === "id") this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) items.push({ kind: "retry", ms: Number(value) });
  }
}
