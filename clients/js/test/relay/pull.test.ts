// A device without a socket against the real relay, with its requests lost at every step.

import assert from "node:assert/strict";
import test from "node:test";
import { DevicePull, PullError, type PullEvent } from "../../src/index.js";
import { ask, control, CREDENTIAL, endsAfterwards, open, pair, type Opened, type Paired } from "./relay.js";

const LIMIT = { timeout: 60_000 };

/** A phone without a socket; its user types the code of the page, its card signs at once. */
class PullPhone {
  readonly events: PullEvent[] = [];
  readonly device: DevicePull;
  readonly signatures: string[] = [];
  readonly #codes = new Map<string, string>();
  #waiting: (() => void)[] = [];

  constructor(paired: Paired, send?: typeof fetch) {
    const onEvent = (event: PullEvent) => this.#event(event);
    this.device = new DevicePull({ ...paired, onEvent, ...(send ? { fetch: send } : {}) });
    endsAfterwards(() => this.device.stop());
  }

  knows(opened: Opened): void {
    this.#codes.set(opened.id, opened.code);
  }

  all<K extends PullEvent["kind"]>(kind: K): Extract<PullEvent, { kind: K }>[] {
    return this.events.filter((event) => event.kind === kind) as Extract<PullEvent, { kind: K }>[];
  }

  /** Waits for the first event of this kind. */
  async until(kind: PullEvent["kind"]): Promise<void> {
    while (this.all(kind).length === 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #event(event: PullEvent): void {
    this.events.push(event);
    for (const resolve of this.#waiting.splice(0)) resolve();
    if (event.kind === "offer" && !event.again) {
      const { ceremony_id: id } = event.offer;
      const code = this.#codes.get(id);
      if (event.preview?.typed) this.device.confirm(id);
      else if (code !== undefined) this.device.claim(id, code);
    }
    if (event.kind === "challenge" && !event.again) {
      const { ceremony_id: id, attempt } = event.challenge;
      this.device.cardPresent(id);
      this.signatures.push(attempt);
      this.device.answer(id, attempt, CREDENTIAL);
    }
  }
}

/** A `fetch` that loses one request, or the answer to it. */
function losing(mark: string, when: "unsent" | "sent", record: { lost: boolean; answers: string[] }): typeof fetch {
  return async (input, init) => {
    const body = typeof init?.body === "string" ? init.body : "";
    if (body.includes('"type":"answer"')) record.answers.push(body);
    const marked = !record.lost && `${init?.method} ${String(input)} ${body}`.includes(mark);
    if (marked && when === "unsent") {
      record.lost = true;
      throw new TypeError("lost on its way");
    }
    const response = await fetch(input, init);
    // A refused proof is repeated automatically.
    if (!marked || response.status === 401) return response;
    record.lost = true;
    throw new TypeError("lost on its way back");
  };
}

test("a ceremony ends once over HTTP wherever a request is lost, and the card signs once", LIMIT, async () => {
  const marks = ["GET ", '"of":"offer"', '"type":"claim"', '"of":"challenge"', '"event":"present"', '"type":"answer"', '"of":"closed"'];
  const faults = marks.flatMap((mark) => (["unsent", "sent"] as const).map((when) => ({ mark, when })));
  await Promise.all(
    faults.map(async ({ mark, when }, number) => {
      const where = `${when} ${mark}`;
      const username = `pulling-${number}@example.com`;
      const record = { lost: false, answers: [] as string[] };
      const phone = new PullPhone(await pair(username), losing(mark, when, record));
      const opened = await open(username);
      phone.knows(opened);
      await phone.device.pullLoop();
      assert.ok(record.lost, where);
      const closed = phone.all("closed").map(({ closed }) => [closed.ceremony_id, closed.outcome]);
      assert.deepEqual(closed, [[opened.id, "succeeded"]], where);
      assert.equal(phone.signatures.length, 1, where);
      assert.equal(new Set(record.answers).size, 1, `${where}: the same answer, byte for byte`);
      assert.ok(record.answers[0]?.endsWith(`"credential":${CREDENTIAL}}`), where);
      assert.equal(phone.device.isOpen, false, where);
    }),
  );
});

test("a pull reports and acknowledges prompts, and a later one the outcome", LIMIT, async () => {
  const phone = new PullPhone(await pair("pulls-once@example.com"));
  await phone.device.pullOnce();
  assert.deepEqual(phone.events, []);
  const opened = await open("pulls-once@example.com");
  await phone.device.pullOnce();
  assert.deepEqual(phone.all("offer").map(({ offer, again }) => [offer.ceremony_id, again]), [[opened.id, false]]);
  await phone.device.pullOnce();
  assert.deepEqual(phone.all("offer").map(({ again }) => again), [false, true]);
  await ask("DELETE", `/v1/ceremonies/${opened.id}`);
  await phone.device.pullOnce();
  assert.deepEqual(phone.all("closed").map(({ closed }) => closed.outcome), ["cancelled"]);
  assert.equal(phone.device.isOpen, false);
});

test("a code typed outside of a prompt finds its ceremony over HTTP", LIMIT, async () => {
  const phone = new PullPhone(await pair("pull-by-code@example.com"));
  const ringing = await open("pull-by-code@example.com");
  const silent = await open("pull-by-code@example.com");
  phone.device.typeCode(silent.code);
  const looping = phone.device.pullLoop();
  await phone.until("closed");
  const { preview } = phone.all("offer").find(({ offer }) => offer.ceremony_id === silent.id)!;
  assert.equal(preview?.typed, true);
  assert.deepEqual(phone.all("closed").map(({ closed }) => [closed.ceremony_id, closed.outcome]), [[silent.id, "succeeded"]]);
  await ask("DELETE", `/v1/ceremonies/${ringing.id}`);
  await looping;
});

test("a wrong code is reported, and the right one after it is accepted", LIMIT, async () => {
  const phone = new PullPhone(await pair("pull-mistyping@example.com"));
  const opened = await open("pull-mistyping@example.com");
  await phone.device.pullOnce();
  phone.device.claim(opened.id, opened.code === "000000" ? "000001" : "000000");
  await phone.device.pullOnce();
  assert.deepEqual(phone.all("refused").map(({ error }) => error.code), ["wrong_code"]);
  phone.device.claim(opened.id, opened.code);
  await phone.device.pullLoop();
  assert.deepEqual(phone.all("closed").map(({ closed }) => closed.outcome), ["succeeded"]);
});

test("a nonce from before a restart of the relay is replaced automatically", LIMIT, async () => {
  const phone = new PullPhone(await pair("pull-restarted@example.com"));
  const opened = await open("pull-restarted@example.com");
  await phone.device.pullOnce();
  await control("restart");
  phone.device.claim(opened.id, opened.code);
  await phone.device.pullLoop();
  assert.deepEqual(phone.all("closed").map(({ closed }) => closed.outcome), ["succeeded"]);
});

test("an unknown key is refused, and after five refusals in a row for good", LIMIT, async () => {
  const [known, other] = [await pair("pull-known@example.com"), await pair("pull-other@example.com")];
  const phone = new PullPhone({ device: known.device, signer: other.signer });
  const refused = (error: unknown) => error instanceof PullError && error.status === 401 && error.code === "proof_refused";
  await assert.rejects(phone.device.pullOnce(), refused);
  await assert.rejects(phone.device.pullLoop(), refused);
  assert.equal(phone.all("trouble").length, 4);
});
