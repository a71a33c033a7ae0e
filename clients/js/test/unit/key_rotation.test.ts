import assert from "node:assert/strict";
import test from "node:test";
import { generateDeviceKey, rotateDeviceKey, webCryptoSigner } from "../../src/index.js";
import { KeyExchange } from "../../src/key_rotation.js";

const LIMIT = { timeout: 10_000 };
const device = { device_id: "dev_x", socket_url: "wss://relay.example/v1/device/socket" };
const newKey = async () => webCryptoSigner(await generateDeviceKey());
/** Longer than any test takes. */
const later = () => new Response("{}", { status: 503, headers: { "Retry-After": "60" } });

test("a rotation stopped during its request ends with it", LIMIT, async () => {
  const controller = new AbortController();
  const send: typeof fetch = async () => {
    controller.abort();
    return later();
  };
  const order = { device, signer: await newKey(), next: await newKey(), signal: controller.signal, fetch: send };
  await assert.rejects(rotateDeviceKey(order), { code: "called_off", settled: false });
});

test("a wake during a request makes the next one follow at once", LIMIT, async () => {
  let asked = 0;
  const send: typeof fetch = async () => {
    asked += 1;
    if (asked === 1) exchange.wake();
    else exchange.welcomed();
    return later();
  };
  const exchange = new KeyExchange(device, await newKey(), await newKey(), false, send);
  await exchange.run();
  assert.equal(asked, 2);
});
