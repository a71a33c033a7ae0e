// Pull against a scripted relay: what is signed, and how answers are handled.

import assert from "node:assert/strict";
import test from "node:test";
import { createHash } from "node:crypto";
import { DevicePull, PullError, type DevicePullOptions, type PullEvent } from "../../src/index.js";

type Asked = { url: URL; method: string; body: string; claims: Record<string, string> };

/** A device whose requests a function answers. */
function device(answer: (asked: Asked, number: number) => Response | Promise<Response>, more: Partial<DevicePullOptions> = {}) {
  const [asked, events]: [Asked[], PullEvent[]] = [[], []];
  const send = (async (input, init) => {
    const proof = (init?.headers as Record<string, string>)["Authorization"]!.replace(/^DPoP /, "");
    const [, claims = ""] = proof.split(".");
    const one: Asked = {
      url: new URL(String(input)),
      method: init?.method ?? "",
      body: typeof init?.body === "string" ? init.body : "",
      claims: JSON.parse(Buffer.from(claims, "base64url").toString()) as Record<string, string>,
    };
    asked.push(one);
    return answer(one, asked.length);
  }) as typeof fetch;
  const options = {
    device: { device_id: "dev_x", socket_url: "wss://relay.example/base/v1/device/socket" },
    signer: { jwk: { kty: "EC", crv: "P-256", x: "x", y: "y" }, sign: async () => new Uint8Array(64) } as const,
    onEvent: (event: PullEvent) => events.push(event),
    fetch: send,
    ...more,
  };
  return { device: new DevicePull(options), asked, events };
}

const json = (body: object, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify(body), { headers: { "Content-Type": "application/json", ...headers } });
const pulled = (...frames: object[]) => json({ frames, state: "s1" }, { "DPoP-Nonce": "n2" });
const refused = (nonce: string) =>
  new Response('{"code":"proof_refused"}', { status: 401, headers: { "Content-Type": "application/problem+json", "DPoP-Nonce": nonce } });
const sha256 = (text: string) => createHash("sha256").update(text).digest("base64url");

test("a proof covers relay, request, device and body, and is unique", async () => {
  const { device: app, asked } = device((one) => (one.method === "GET" ? pulled() : new Response(null, { status: 204 })));
  await app.pullOnce();
  await app.setPush(null);
  const [look, set] = asked as [Asked, Asked];
  assert.equal(look.url.href, "https://relay.example/base/v1/device/ceremonies?wait=0");
  const { aud, htm, htu, device_id, nonce, body_sha256 } = look.claims;
  assert.deepEqual({ aud, htm, htu, device_id, nonce, body_sha256 }, {
    aud: "https://relay.example/base",
    htm: "GET",
    htu: "https://relay.example/base/v1/device/ceremonies",
    device_id: "dev_x",
    nonce: "",
    body_sha256: sha256(""),
  });
  assert.deepEqual([set.method, set.url.pathname, set.body], ["PUT", "/base/v1/device/push", '{"push":null}']);
  assert.deepEqual([set.claims["nonce"], set.claims["body_sha256"]], ["n2", sha256('{"push":null}')]);
  assert.match(look.claims["jti"]!, /^.{16,64}$/);
  assert.notEqual(look.claims["jti"], set.claims["jti"]);
});

test("a refused proof is signed once more with the new nonce, and no third time", async () => {
  const { device: app, asked } = device((_, number) => refused(`n${number}`));
  await assert.rejects(app.pullOnce(), (error: unknown) => error instanceof PullError && error.code === "proof_refused");
  assert.deepEqual(asked.map(({ claims }) => claims["nonce"]), ["", "n1"]);
  const other = device(() => refused("n1"));
  await assert.rejects(other.device.pullOnce());
  await assert.rejects(other.device.pullOnce());
  assert.equal(other.asked.length, 3, "the same nonce again is no reason to sign again");
});

test("an error frame over HTTP is reported as over a socket", async () => {
  const offer = { type: "offer", ceremony_id: "cer_a", ceremony_type: "authentication", code_length: 6, expires_in: 60 };
  const wrong = { type: "error", code: "wrong_code", message: "wrong code", retryable: false, ceremony_id: "cer_a" };
  const { device: app, asked, events } = device((one) => {
    if (one.method === "GET") return pulled(offer);
    if (one.body.includes('"claim"')) return new Response(JSON.stringify(wrong), { status: 422, headers: { "Content-Type": "application/json" } });
    return new Response(null, { status: 204 });
  });
  await app.pullOnce();
  assert.equal(asked[1]?.url.pathname, "/base/v1/device/ceremonies/cer_a/ack");
  assert.ok(app.claim("cer_a", "000000"));
  await app.pullOnce();
  const kinds = events.map((event) => (event.kind === "refused" ? event.error.code : event.kind));
  assert.ok(kinds.includes("wrong_code"), kinds.join());
  assert.ok(asked.some(({ url }) => url.search.includes("shown=cer_a")));
  app.stop();
});

test("a refused request rejects with the relay's code and Retry-After", async () => {
  const problem = '{"code":"too_many_requests","detail":"slowly"}';
  const headers = { "Content-Type": "application/problem+json", "Retry-After": "7" };
  const { device: app } = device(() => new Response(problem, { status: 429, headers }));
  const said = { status: 429, code: "too_many_requests", retryAfterMs: 7000, detail: "slowly" };
  await assert.rejects(app.pullOnce(), said);
  const silent = device(() => Promise.reject(new TypeError("no network")));
  await assert.rejects(silent.device.pullOnce(), { status: 0, code: "unreachable" });
});

test("a notice is reported once, and a stopped device sends nothing", async () => {
  const notice = { type: "notice", notice_id: "ntc_a", event: "push_removed", ago_s: 1 };
  const { device: app, asked, events } = device(() => pulled(notice), { noticed: ["ntc_b"] });
  await app.pullOnce();
  await app.pullOnce();
  assert.deepEqual(events.map(({ kind }) => kind), ["notice"]);
  app.stop();
  await assert.rejects(app.pullOnce(), { code: "called_off" });
  assert.equal(asked.length, 2);
});
