// Rotation of a device key against the real relay, with its answers lost in every way.

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
import test from "node:test";
import { generateDeviceKey, KeyRotationError, rotateDeviceKey, webCryptoSigner } from "../../src/index.js";
import type { DeviceSigner } from "../../src/index.js";
import { ask, endsAfterwards, open, pair, Phone, type Paired } from "./relay.js";

const LIMIT = { timeout: 30_000 };

const newKey = async () => webCryptoSigner(await generateDeviceKey());

/** A phone's own key store: DER, and its own SHA-256. */
function keyStore(): DeviceSigner {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { x = "", y = "" } = publicKey.export({ format: "jwk" });
  return {
    jwk: { kty: "EC", crv: "P-256", x, y },
    sign: async (bytes) => sign("sha256", bytes, privateKey),
    sha256: async (bytes) => createHash("sha256").update(bytes).digest(),
  };
}

/** A network that loses so many requests, before or after the relay has answered them. */
function losing(many: number, where: "there" | "back", onLoss = () => {}) {
  let asked = 0;
  const lose = (error: string): never => {
    onLoss();
    throw new TypeError(error);
  };
  const send: typeof fetch = async (...request) => {
    asked += 1;
    const loses = asked <= many;
    if (loses && where === "there") lose("lost on its way");
    const response = await fetch(...request);
    return loses ? lose("lost on its way back") : response;
  };
  return { fetch: send };
}

/** Whether the relay accepts this key for the device. */
async function counts(device: Paired["device"], signer: DeviceSigner): Promise<boolean> {
  const phone = new Phone({ device, signer });
  const ended = phone.until("disconnected").then(({ end }) => assert.equal(end.code, 4401));
  const welcomed = await Promise.race([phone.until("connected").then(() => true), ended.then(() => false)]);
  phone.socket.stop();
  return welcomed;
}

async function worksAndTheOtherDoesNot(paired: Paired, next: DeviceSigner): Promise<void> {
  assert.ok(!(await counts(paired.device, paired.signer)), "the old key authenticates nothing");
  assert.ok(await counts(paired.device, next), "the new key counts");
}

async function succeeds(phone: Phone, username: string): Promise<void> {
  const opened = await open(username);
  phone.types(opened);
  const { closed } = await phone.until("closed");
  assert.deepEqual([closed.ceremony_id, closed.outcome], [opened.id, "succeeded"]);
}

test("a rotation keeps the socket, and the user's other phone gets one notice", LIMIT, async () => {
  const username = "rotating@example.com";
  const [paired, next] = [await pair(username), keyStore()];
  const [phone, other] = [new Phone(paired), await Phone.of(username)];
  await phone.until("connected");
  await phone.socket.rotateKey(next);
  assert.equal(phone.events.at(-1)?.kind, "key_rotated");
  const { notice } = await other.until("notice");
  assert.deepEqual([notice.event, notice.device_id], ["device_key_rotated", paired.device.device_id]);
  // Also from a key store's key to another, on the same socket.
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const third = await newKey();
  await phone.socket.rotateKey(third);
  other.socket.stop();
  await succeeds(phone, username);
  assert.equal(phone.count("connected"), 1, "the socket stayed");
  phone.socket.stop();
  await worksAndTheOtherDoesNot({ ...paired, signer: next }, third);
});

for (const where of ["there", "back"] as const) {
  test(`a rotation lost on its way ${where} is repeated until it is answered`, LIMIT, async () => {
    const username = `lost-${where}@example.com`;
    const [paired, next, network] = [await pair(username), await newKey(), losing(3, where)];
    const other = await Phone.of(username);
    const phone = new Phone(paired, undefined, undefined, { fetch: network.fetch });
    await phone.until("connected");
    const done = phone.socket.rotateKey(next);
    await assert.rejects(phone.socket.rotateKey(await newKey()), TypeError, "one after the other");
    await done;
    await other.until("notice");
    other.socket.redial();
    await other.until("connected", 2);
    other.socket.stop();
    await succeeds(phone, username);
    assert.equal(other.count("notice"), 1);
    phone.socket.stop();
    await worksAndTheOtherDoesNot(paired, next);
  });

  test(`an app that ends after a rotation was lost on its way ${where} continues with both keys`, LIMIT, async () => {
    const username = `killed-${where}@example.com`;
    const [paired, next] = [await pair(username), await newKey()];
    // A request that is stopped earlier may never reach the relay; a little later the relay's welcome
    // of the new key is the answer.
    const never = losing(Infinity, where, () => phone.socket.stop());
    const phone: Phone = new Phone(paired, undefined, undefined, { fetch: never.fetch });
    await phone.until("connected");
    await assert.rejects(phone.socket.rotateKey(next), { code: "called_off", settled: false });
    assert.equal(phone.events.at(-1)?.kind, "stopped");
    // Where the relay has the new key, its welcome is the only answer.
    const network = where === "back" ? never : losing(0, where);
    const again = new Phone(paired, undefined, undefined, { nextSigner: next, fetch: network.fetch });
    await again.until("key_rotated");
    await again.until("connected");
    await succeeds(again, username);
    assert.equal(again.count("key_kept"), 0);
    again.socket.stop();
    await worksAndTheOtherDoesNot(paired, next);
  });
}

test("a rotation whose answers are all lost is settled by a new socket's welcome", LIMIT, async () => {
  const [paired, next] = [await pair("unanswered@example.com"), await newKey()];
  const phone = new Phone(paired, undefined, undefined, { fetch: losing(Infinity, "back").fetch });
  await phone.until("connected");
  await phone.socket.rotateKey(next);
  assert.equal(phone.count("connected"), 2);
  await succeeds(phone, "unanswered@example.com");
  phone.socket.stop();
  await worksAndTheOtherDoesNot(paired, next);
});

test("an app continues if its unfinished rotation arrives after the old key was welcomed", LIMIT, async () => {
  const [paired, next] = [await pair("late@example.com"), await newKey()];
  const never = losing(Infinity, "back").fetch;
  const late: typeof fetch = async (...request) => {
    await phone.until("connected");
    return never(...request);
  };
  const phone = new Phone(paired, undefined, undefined, { nextSigner: next, fetch: late });
  await phone.until("key_rotated");
  await succeeds(phone, "late@example.com");
  phone.socket.stop();
  await worksAndTheOtherDoesNot(paired, next);
});

test("a refused key is reported, and the old one stays", LIMIT, async () => {
  const username = "refused@example.com";
  const [paired, next] = [await pair(username), await newKey()];
  const tampering: typeof fetch = (url, request) => {
    const body = JSON.parse(String(request?.body)) as { old_proof: string; new_proof: string };
    return fetch(url, { ...request, body: JSON.stringify({ ...body, new_proof: body.old_proof }) });
  };
  const phone = new Phone(paired, undefined, undefined, { fetch: tampering });
  await phone.until("connected");
  const refused = await phone.socket.rotateKey(next).catch((error: unknown) => error);
  assert.ok(refused instanceof KeyRotationError, String(refused));
  assert.deepEqual([refused.status, refused.code, refused.settled], [401, "proof_refused", true]);
  assert.equal((await phone.until("key_kept")).error, refused);
  const failing: DeviceSigner = { ...next, sign: () => Promise.reject(new Error("locked")) };
  await assert.rejects(phone.socket.rotateKey(failing), { message: "locked" });
  await succeeds(phone, username);
  phone.socket.stop();
  assert.ok(!(await counts(paired.device, next)) && (await counts(paired.device, paired.signer)));
});

test("a phone with a wrong clock signs again with the relay's time", LIMIT, async () => {
  const [paired, next] = [await pair("early@example.com"), await newKey()];
  const now = Date.now;
  endsAfterwards(() => (Date.now = now));
  Date.now = () => now() - 86_400_000;
  let asked = 0;
  const counting: typeof fetch = (...request) => {
    asked += 1;
    return fetch(...request);
  };
  await rotateDeviceKey({ ...paired, next, fetch: counting });
  assert.equal(asked, 2);
  await worksAndTheOtherDoesNot(paired, next);
  // After a revocation the clock does not matter.
  await ask("DELETE", `/v1/devices/${paired.device.device_id}`);
  const gone = rotateDeviceKey({ ...paired, signer: next, next: await newKey(), fetch: counting });
  await assert.rejects(gone, { name: "KeyRotationError", status: 401, settled: true });
});
