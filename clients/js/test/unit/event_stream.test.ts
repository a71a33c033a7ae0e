import assert from "node:assert/strict";
import test from "node:test";
import { EventStreamParser, type StreamItem } from "../../src/event_stream.js";

const STREAM = 'retry: 3211\n\nid: 3\nevent: progress\ndata: {"seq":3}\n\n: still here\r\n\r\nid: 8\nevent: closed\ndata: {"ö":\ndata: 8}\n\nid: 9\ndata: cut';

test("a stream gives the same events however it is split", () => {
  const whole: StreamItem[] = [
    { kind: "retry", ms: 3211 },
    { kind: "event", id: "3", data: '{"seq":3}' },
    { kind: "comment" },
    { kind: "event", id: "8", data: '{"ö":\n8}' },
  ];
  for (let cut = 0; cut <= STREAM.length; cut += 1) {
    const parser = new EventStreamParser();
    const items = [STREAM.slice(0, cut), STREAM.slice(cut)].flatMap((piece) => parser.push(piece));
    assert.deepEqual(items, whole, `cut at ${cut}`);
  }
});
