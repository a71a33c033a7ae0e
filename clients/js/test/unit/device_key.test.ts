import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, sign, verify } from "node:crypto";
import test from "node:test";
import { base64url, generateDeviceKey, signed, thumbprint, webCryptoSigner, type DeviceSigner } from "../../src/device_key.js";

const parts = (jws: string) => {
  const [head = "", body = "", signature = ""] = jws.split(".");
  return { head, body, signature: Buffer.from(signature, "base64url") };
};

test("bytes of every length are written as base64url without padding", () => {
  for (let length = 0; length < 40; length += 1) {
    const bytes = Buffer.from(Array.from({ length }, (_, at) => (at * 73 + 251) & 255));
    assert.equal(base64url(bytes), bytes.toString("base64url"));
  }
});

test("a thumbprint equals the protocol's example", async () => {
  const jwk = { kty: "EC", crv: "P-256", x: "9fjWdRK7k5V5MYEJBrZtQsGE3paNeL6RaCNBS9oOPno", y: "Ws-jsQ0etwp6oEbuf7gfqT9ynHL2VFqe6RBUexMzYbQ" } as const;
  const signer: DeviceSigner = { jwk, sign: () => assert.fail() };
  assert.equal(await thumbprint(signer), "sekCIl1_aNUbzq8yNuXsttOE4dWf9gFVe9_Pq4Tl37s");
});

test("a WebCrypto key is not extractable, and its signatures verify", async () => {
  const pair = (await generateDeviceKey()) as CryptoKeyPair;
  assert.equal(pair.privateKey.extractable, false);
  const jws = parts(await signed(await webCryptoSigner(pair), "some+jwt", { aud: "wss://relay.example" }));
  assert.deepEqual(JSON.parse(Buffer.from(jws.head, "base64url").toString()), { alg: "ES256", typ: "some+jwt" });
  assert.equal(JSON.parse(Buffer.from(jws.body, "base64url").toString()).aud, "wss://relay.example");
  const input = Buffer.from(`${jws.head}.${jws.body}`);
  assert.equal(jws.signature.length, 64);
  const algorithm = { name: "ECDSA", hash: "SHA-256" };
  assert.ok(await crypto.subtle.verify(algorithm, pair.publicKey, jws.signature, input));
});

test("a signer with DER signatures and its own SHA-256 works", async () => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { x = "", y = "" } = publicKey.export({ format: "jwk" });
  let hashed = 0;
  const signer: DeviceSigner = {
    jwk: { kty: "EC", crv: "P-256", x, y },
    sign: async (bytes) => sign("sha256", bytes, privateKey),
    sha256: async (bytes) => {
      hashed += 1;
      return createHash("sha256").update(bytes).digest();
    },
  };
  assert.match(await thumbprint(signer), /^[\w-]{43}$/);
  assert.equal(hashed, 1);
  // Often enough to meet numbers with a leading zero.
  for (let turn = 0; turn < 300; turn += 1) {
    const jws = parts(await signed(signer, "some+jwt", { turn: String(turn) }));
    const input = Buffer.from(`${jws.head}.${jws.body}`);
    assert.ok(verify("sha256", input, { key: publicKey, dsaEncoding: "ieee-p1363" }, jws.signature));
  }
  await assert.rejects(signed({ ...signer, sign: async () => new Uint8Array(70) }, "some+jwt", {}), TypeError);
});

test("without WebCrypto the error names what is missing and the remedy", async (context) => {
  const own = Object.getOwnPropertyDescriptor(globalThis, "crypto")!;
  context.after(() => Object.defineProperty(globalThis, "crypto", own));
  const jwk = { kty: "EC", crv: "P-256", x: "x", y: "y" } as const;
  const signer: DeviceSigner = { jwk, sign: () => assert.fail() };
  const pair = await generateDeviceKey();
  for (const crypto of [undefined, {}]) {
    Object.defineProperty(globalThis, "crypto", { value: crypto, configurable: true });
    const clear = { name: "TypeError", message: /WebCrypto.*https.*signer/ };
    await assert.rejects(generateDeviceKey(), clear);
    await assert.rejects(webCryptoSigner(pair), clear);
    await assert.rejects(thumbprint(signer), clear);
  }
});
