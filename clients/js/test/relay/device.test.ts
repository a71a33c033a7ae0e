// The device socket against the real relay, with its connection cut at every step.

import assert from "node:assert/strict";
import test from "node:test";
import type { Dial, DeviceEvent } from "../../src/index.js";
import { dialNode } from "../../src/node.js";
import { ask, control, CREDENTIAL, open, pair, Phone } from "./relay.js";

const LIMIT = { timeout: 30_000 };

interface Fault {
  /** Whether to cut when a frame from the relay arrives, or before or after a frame is sent. */
  at: "received" | "unsent" | "sent";
  /** What the frame contains. */
  mark: string;
}

/** Node's connection, which breaks once. */
function breaking({ at, mark }: Fault, record: { broke: boolean; answers: string[] }): Dial {
  return (url, protocol, listener) => {
    const breaks = (when: Fault["at"], message: string) => {
      if (record.broke || when !== at || !message.includes(mark)) return false;
      record.broke = true;
      return true;
    };
    const line = dialNode(url, protocol, {
      ...listener,
      alive: () => listener.alive(),
      ended: (end) => listener.ended(end),
      text: (message) => {
        if (breaks("received", message)) line.drop();
        else listener.text(message);
      },
    });
    return {
      close: () => line.close(),
      drop: () => line.drop(),
      send: (message) => {
        if (message.includes('"type":"answer"')) record.answers.push(message);
        if (breaks("unsent", message)) return line.drop();
        line.send(message);
        // Written data is sent before the end.
        if (breaks("sent", message)) setImmediate(() => line.drop());
      },
    };
  };
}

test("a ceremony ends once wherever the connection breaks, and the card signs once", LIMIT, async () => {
  const received = ["hello", "welcome", "offer", "challenge", "accepted", "closed"].map((type): Fault => ({ at: "received", mark: `{"type":"${type}"` }));
  const marks = ['"of":"offer"', '"type":"claim"', '"of":"challenge"', '"event":"present"', '"type":"answer"'];
  const sent = marks.flatMap((mark): Fault[] => [{ at: "unsent", mark }, { at: "sent", mark }]);
  await Promise.all(
    [...received, ...sent].map(async (fault, number) => {
      const username = `breaking-${number}@example.com`;
      const record = { broke: false, answers: [] as string[] };
      const phone = new Phone(await pair(username, number % 2 === 0), breaking(fault, record));
      const opened = await open(username);
      phone.types(opened);
      const { closed } = await phone.until("closed");
      const where = `${fault.at} ${fault.mark}`;
      assert.ok(record.broke, where);
      assert.deepEqual([closed.ceremony_id, closed.outcome], [opened.id, "succeeded"], where);
      assert.equal(phone.signatures.length, 1, where);
      assert.equal(new Set(record.answers).size, 1, `${where}: the same answer, byte for byte`);
      assert.ok(record.answers[0]?.endsWith(`"credential":${CREDENTIAL}}`), where);
      assert.equal(phone.count("closed"), 1, where);
    }),
  );
});

test("after a restart the phone continues open ceremonies without a second question", LIMIT, async () => {
  const phone = await Phone.of("restarted@example.com");
  const opened = await open("restarted@example.com");
  await phone.until("offer");
  await control("restart");
  await phone.until("connected", 2);
  const { again } = await phone.until("offer", 2);
  assert.ok(again);
  phone.types(opened);
  assert.equal((await phone.until("closed")).closed.outcome, "succeeded");
});

test("a wrong code is reported and not resent", LIMIT, async () => {
  const phone = await Phone.of("mistyping@example.com");
  const opened = await open("mistyping@example.com");
  await phone.until("offer");
  phone.types({ ...opened, code: "no code" });
  assert.equal((await phone.until("refused")).error.code, "code_malformed");
  phone.types({ ...opened, code: opened.code === "000000" ? "000001" : "000000" });
  assert.equal((await phone.until("refused", 2)).error.code, "wrong_code");
  phone.socket.redial();
  await phone.until("offer", 2);
  phone.types(opened);
  assert.equal((await phone.until("closed")).closed.outcome, "succeeded");
  assert.equal(phone.count("refused"), 2);
});

test("the code of a ceremony that does not ring finds it, and the user confirms", LIMIT, async () => {
  const record = { broke: false, answers: [] };
  const phone = await Phone.of("by-code@example.com", breaking({ at: "sent", mark: '"type":"claim"' }, record));
  const ringing = await open("by-code@example.com");
  await phone.until("offer");
  const silent = await open("by-code@example.com");
  phone.socket.typeCode(silent.code);
  const found = async () => {
    for (let nth = 1; ; nth += 1) {
      const event = await phone.until("offer", nth);
      if (event.preview) return event;
    }
  };
  const { offer, preview } = await found();
  assert.deepEqual([offer.ceremony_id, offer.by_code], [silent.id, true]);
  assert.deepEqual(preview, { rang: false, knownBrowser: false, afterNotMe: false, typed: true });
  assert.equal(phone.count("challenge"), 0, "nothing is taken up before the person confirms");
  assert.ok(phone.socket.confirm(silent.id));
  const { closed } = await phone.until("closed");
  assert.deepEqual([closed.ceremony_id, closed.outcome], [silent.id, "succeeded"]);
  assert.ok(record.broke, "the claim was said again");
  await ask("DELETE", `/v1/ceremonies/${ringing.id}`);
});

test("a code typed into another prompt claims only its own ceremony", LIMIT, async () => {
  const phone = await Phone.of("other-code@example.com");
  const ringing = await open("other-code@example.com");
  await phone.until("offer");
  const silent = await open("other-code@example.com");
  phone.socket.claim(ringing.id, silent.code);
  assert.equal((await phone.until("ask_again")).ceremonyId, ringing.id);
  assert.ok(phone.socket.confirm(silent.id));
  assert.deepEqual((await phone.until("closed")).closed.ceremony_id, silent.id);
  phone.types(ringing);
  assert.equal((await phone.until("closed", 2)).closed.outcome, "succeeded");
});

test("a wrong code outside of a prompt is reported with its claim id", LIMIT, async () => {
  const phone = await Phone.of("by-no-code@example.com");
  const claimId = phone.socket.typeCode("271828");
  const { error } = await phone.until("refused");
  assert.deepEqual([error.code, error.claim_id, error.ceremony_id], ["wrong_code", claimId, undefined]);
  assert.ok(phone.socket.reportNotMe());
});

test("a decline arrives despite a broken connection, and a cancelled prompt is taken down", LIMIT, async () => {
  const record = { broke: false, answers: [] };
  const phone = await Phone.of("no@example.com", breaking({ at: "unsent", mark: "decline" }, record));
  const opened = await open("no@example.com");
  await phone.until("offer");
  assert.ok(phone.socket.decline(opened.id, "not_me"));
  const { closed } = await phone.until("closed");
  assert.deepEqual([closed.outcome, closed.reason, record.broke], ["denied", "not_me", true]);
  assert.ok(!phone.socket.decline(opened.id, "declined"), "there is no such prompt any more");
  const before = phone.count("offer");
  const other = await open("no@example.com");
  await phone.until("offer", before + 1);
  await ask("DELETE", `/v1/ceremonies/${other.id}`);
  assert.equal((await phone.until("closed", 2)).closed.outcome, "cancelled");
});

test("a reauth is answered on the same socket", LIMIT, async () => {
  let proofs = 0;
  const counting: Dial = (url, protocol, listener) => {
    const line = dialNode(url, protocol, listener);
    const send = (message: string) => {
      if (message.includes('"type":"auth"')) proofs += 1;
      line.send(message);
    };
    return { send, close: () => line.close(), drop: () => line.drop() };
  };
  const phone = await Phone.of("again@example.com", counting);
  while (proofs < 3) await new Promise((resolve) => setTimeout(resolve, 20));
  const opened = await open("again@example.com");
  phone.types(opened);
  assert.equal((await phone.until("closed")).closed.outcome, "succeeded");
  assert.equal(phone.count("connected"), 1);
});

test("the socket stops for good when stopped, replaced or revoked", LIMIT, async () => {
  const ends = async (phone: Phone) => (await phone.until("stopped")).why;
  const paired = await pair("ended@example.com");
  const first = new Phone(paired);
  await first.until("connected");
  const second = new Phone(paired);
  assert.equal(await ends(first), "replaced");
  await second.until("connected");
  const revoked = await ask("DELETE", `/v1/devices/${paired.device.device_id}`);
  assert.ok(revoked.ok, String(revoked.status));
  assert.equal(await ends(second), "revoked");
  const controller = new AbortController();
  const third = new Phone(await pair("told@example.com"), dialNode, controller.signal);
  await third.until("connected");
  controller.abort();
  assert.equal(await ends(third), "told");
  const last = (phone: Phone): DeviceEvent | undefined => phone.events.at(-1);
  for (const phone of [first, second, third]) assert.equal(last(phone)?.kind, "stopped");
});
