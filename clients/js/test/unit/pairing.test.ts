import assert from "node:assert/strict";
import test from "node:test";
import { generateDeviceKey, webCryptoSigner } from "../../src/device_key.js";
import { pairDevice, parsePairingLink, plainTypedCode } from "../../src/pairing.js";

test("pairing links and typed codes are parsed, and only https is used", async () => {
  const link = "fido-relay://pair?relay=http%3A%2F%2F127.0.0.1%3A32805&token=QhGm-_E";
  assert.deepEqual(parsePairingLink(link), { relay: "http://127.0.0.1:32805", token: "QhGm-_E" });
  for (const bad of ["https://pair?relay=a&token=b", "fido-relay://pair?relay=a", "fido-relay://other?relay=a&token=b", "fido-relay://pair?relay=%&token=b"]) {
    assert.throws(() => parsePairingLink(bad), TypeError, bad);
  }
  assert.equal(plainTypedCode("7k3d9 qxm2v"), "7K3D9QXM2V");
  assert.equal(plainTypedCode("oil00-00000"), "0110000000");
  assert.throws(() => plainTypedCode("7K3D9-QXM2U"), TypeError);
  const signer = await webCryptoSigner(await generateDeviceKey());
  for (const [relay, allowLoopback] of [["http://relay.example", true], ["http://127.0.0.1:1", false], ["ftp://x", true]] as const) {
    const order = { relay, allowLoopback, signer, platform: "other", token: "t" } as const;
    await assert.rejects(pairDevice({ ...order, fetch: () => assert.fail("dialled") }), TypeError);
  }
});

test("a plaintext socket URL is refused except on loopback for development", async () => {
  const signer = await webCryptoSigner(await generateDeviceKey());
  const pairs = (socket_url: string, allowLoopback: boolean) => {
    const answer = async () => Response.json({ device_id: "dev_x", socket_url }, { status: 201 });
    const order = { relay: "https://relay.example", signer, platform: "other", token: "t" } as const;
    return pairDevice({ ...order, allowLoopback, fetch: answer });
  };
  for (const [url, allowLoopback] of [
    ["ws://relay.example/v1/device/socket", false],
    ["ws://relay.example/v1/device/socket", true],
    ["ws://127.0.0.1.example/v1/device/socket", true],
    ["ws://127.0.0.1:1@relay.example/v1/device/socket", true],
    ["ws://127.0.0.1:1/v1/device/socket", false],
    ["https://relay.example/v1/device/socket", true],
  ] as const) {
    await assert.rejects(pairs(url, allowLoopback), { name: "PairingError", code: "insecure_socket" }, url);
  }
  for (const [url, allowLoopback] of [
    ["wss://relay.example/v1/device/socket", false],
    ["ws://127.0.0.1:1/v1/device/socket", true],
    ["ws://[::1]/v1/device/socket", true],
  ] as const) {
    assert.deepEqual(await pairs(url, allowLoopback), { device_id: "dev_x", socket_url: url });
  }
});

test("an unreachable relay differs from an aborted pairing", async () => {
  const signer = await webCryptoSigner(await generateDeviceKey());
  const order = { relay: "https://relay.example", signer, platform: "other", token: "t" } as const;
  const offline: typeof fetch = () => Promise.reject(new TypeError("fetch failed"));
  await assert.rejects(pairDevice({ ...order, fetch: offline }), { name: "PairingError", status: 0, code: "unreachable" });
  const controller = new AbortController();
  const calledOff: typeof fetch = async (_, request) => {
    controller.abort();
    throw request?.signal?.reason;
  };
  await assert.rejects(pairDevice({ ...order, signal: controller.signal, fetch: calledOff }), { name: "AbortError" });
});

test("a refusal carries the relay's detail", async () => {
  const signer = await webCryptoSigner(await generateDeviceKey());
  const order = { relay: "https://relay.example", signer, platform: "other", token: "t" } as const;
  const refuses = (problem: object) => async () => Response.json(problem, { status: 400 });
  const problem = { code: "invalid_request", detail: "/name: must not be empty" };
  await assert.rejects(pairDevice({ ...order, fetch: refuses(problem) }), {
    message: "not paired: 400 invalid_request (/name: must not be empty)",
    detail: "/name: must not be empty",
  });
  await assert.rejects(pairDevice({ ...order, fetch: refuses({ code: "gone", detail: 7 }) }), { message: "not paired: 400 gone" });
});
