// A backend's client of fido-relay with Node's own modules (Node 20 or later): opens ceremonies, waits
// for their outcome, verifies the signed result. Copy this file; main.mjs is an example of its use.
import { createHash, createPublicKey, randomUUID, verify } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

/** Seconds for which the relay may hold a long poll, and tolerance of a call beyond that. */
const [WAIT_S, SLACK_S] = [25, 10];
/** Limit in seconds for fetching the keys, since verifications wait for it. */
const KEYS_S = 5;
/** Seconds for which an opening is retried while the relay is unreachable. */
const OPEN_FOR_S = 30;
/** Seconds to wait for the outcome after a ceremony's deadline, since the relay may restart. */
const GRACE_S = 60;
/** Minimum age in seconds of the key set before it is fetched for an unknown key; its maximum age. */
const [UNKNOWN_KEY_S, KNOWN_KEY_S] = [60, 3600];

const seconds = () => Math.floor(Date.now() / 1000);

/** The relay refused, or was unreachable (`status` 0). */
export class RelayError extends Error {
  constructor(status, code, detail, retryAfter) {
    super(`${status} ${code}: ${detail}`);
    Object.assign(this, { status, code, retryAfter });
  }

  /** Whether the same call may succeed later. */
  get passes() {
    return this.status === 0 || this.status === 429 || (this.status >= 500 && this.status !== 501);
  }
}

/** The token does not prove what was opened. */
export class Refused extends Error {}

export class Relay {
  #url;
  #apiKey;
  #keys = new Map();
  #fetched = -Infinity;
  #fetching;

  /**
   * `issuer` is the relay's public URL if the backend uses another one. `txBinding` "card" requires
   * the card's own signature over the text of an approval; "relay" also accepts the relay's, as with
   * an external FIDO2 server. `maxAge`: the maximum age of a success in seconds.
   */
  constructor({ url, apiKey, clientId, issuer = url, txBinding = "card", leeway = 30, maxAge = 300 }) {
    if (!url || !apiKey) throw new TypeError("url and apiKey are required");
    this.#url = url.replace(/\/$/, "");
    this.#apiKey = apiKey;
    Object.assign(this, { clientId, issuer: issuer.replace(/\/$/, ""), txBinding, leeway, maxAge });
  }

  /** Creates a client and fetches the client id. */
  static async connect(options) {
    const relay = new Relay(options);
    relay.clientId = (await relay.#call("GET", "/v1/clients/self")).client_id;
    return relay;
  }

  /**
   * Opens a ceremony (the body of `POST /v1/ceremonies`) and returns what `outcome` and `verify` need:
   * keep it in the server-side session. Retries send the same key, so they open no second one; to
   * retry after a restart of your own, pass the same key and the same ceremony.
   */
  async open(ceremony, idempotencyKey = randomUUID()) {
    const body = { client_nonce: randomUUID(), ...ceremony };
    const opened_at = seconds();
    const headers = { "Idempotency-Key": idempotencyKey };
    const opened = await this.#persist(opened_at + OPEN_FOR_S, () =>
      this.#call("POST", "/v1/ceremonies", body, headers));
    return { ...body, ...opened, opened_at };
  }

  /** Waits for the end, across timeouts and restarts of the relay; `seen` gets each step once. */
  async outcome(opened, seen = () => {}) {
    const until = opened.opened_at + opened.expires_in + GRACE_S;
    const reported = new Set();
    for (let since = 0; ; ) {
      const view = await this.#persist(until, () => this.read(opened, WAIT_S, since));
      for (const { seq, step } of view.progress) {
        if (!reported.has(seq)) seen(step);
        reported.add(seq);
      }
      since = view.seq;
      if (view.status !== "pending") return view;
      if (seconds() > until) throw new RelayError(0, "unknown", "the ceremony does not end");
    }
  }

  /** The state of the ceremony when a step follows number `since` or `wait` seconds are over. */
  read(opened, wait = 0, since = 0) {
    return this.#call("GET", `/v1/ceremonies/${opened.id}?wait=${wait}&since=${since}`);
  }

  /** Cancels a ceremony. One that has ended keeps its outcome. */
  async cancel(opened) {
    await this.#call("DELETE", `/v1/ceremonies/${opened.id}`).catch((error) => {
      if (error.code !== "already_closed") throw error;
    });
  }

  /**
   * Returns the claims of a token (`result` of the outcome) that proves the success of `opened`.
   * Throws `Refused` for any other, and a `RelayError` if the keys cannot be fetched: then try again.
   * Act once for each `jti`.
   */
  async verify(token, opened, now = seconds()) {
    const parts = String(token).split(".");
    require(parts.length === 3, "not a compact JWS");
    const { alg, typ, kid, crit } = object(parts[0]);
    require(alg === "ES256" && typ === "ceremony-result+jwt" && crit === undefined, "another kind of token");
    require(typeof kid === "string", "no key id");
    const signature = decode(parts[2]);
    const key = { key: await this.#key(kid, now), dsaEncoding: "ieee-p1363" };
    require(verify("sha256", Buffer.from(`${parts[0]}.${parts[1]}`), key, signature), "the signature does not verify");

    const claims = object(parts[1]);
    const expected = {
      iss: this.issuer,
      aud: this.clientId,
      jti: opened.id,
      sub: opened.username,
      client_nonce: opened.client_nonce,
      ceremony_type: opened.type,
      outcome: "succeeded",
      binding: opened.binding ?? "code",
      tx_hash: opened.transaction && transactionHash(opened.transaction),
    };
    for (const [name, value] of Object.entries(expected)) require(claims[name] === value, `another ${name}`);
    const { iat, exp, amr, auth_time, tx_binding } = claims;
    require([iat, exp, auth_time].every(Number.isFinite), "times are numbers");
    require(iat <= now + this.leeway && now < exp + this.leeway, "not valid now");
    require(auth_time >= opened.opened_at - this.leeway && auth_time <= now + this.leeway, "decided at another time");
    require(now - auth_time <= this.maxAge, "decided too long ago");
    // Two factors: omit this only if your policy accepts a card without its PIN.
    require(Array.isArray(amr) && amr.includes("pin"), "the card did not verify its user");
    const bindings = opened.transaction ? ["card", this.txBinding] : [undefined];
    require(bindings.includes(tx_binding), "the words are not vouched for as they must be");
    return claims;
  }

  /** The published key of this id. The set is fetched again for an unknown one. */
  async #key(kid, now) {
    let asked = false;
    if (now - this.#fetched >= (this.#keys.has(kid) ? KNOWN_KEY_S : UNKNOWN_KEY_S)) {
      asked = !this.#fetching;
      this.#fetching ??= this.#fetch(now).finally(() => (this.#fetching = undefined));
      await this.#fetching;
    }
    const key = this.#keys.get(kid);
    // It may have been published after the set was fetched.
    if (!key && !asked) throw new RelayError(0, "unknown_key", "the keys were fetched a moment ago");
    const { kty, crv, x, y } = key ?? {};
    require(kty === "EC" && crv === "P-256", "no such key");
    return createPublicKey({ key: { kty, crv, x, y }, format: "jwk" });
  }

  async #fetch(now) {
    const { keys } = await this.#call("GET", "/.well-known/jwks.json", undefined, {}, KEYS_S);
    this.#keys = new Map(keys.map((key) => [key.kid, key]));
    this.#fetched = now;
  }

  /** Retries a call that may succeed later, until a time in seconds. */
  async #persist(until, call) {
    for (let n = 0; ; n += 1) {
      try {
        return await call();
      } catch (error) {
        const wait = error.retryAfter || Math.min(2 ** n, 8) * Math.random();
        if (!error.passes || seconds() + wait > until) throw error;
        await pause(1000 * wait);
      }
    }
  }

  async #call(method, path, body, headers = {}, mostS = WAIT_S + SLACK_S) {
    const unreachable = (error) => {
      throw new RelayError(0, "unreachable", error.cause?.message ?? error.message);
    };
    const answer = await fetch(`${this.#url}${path}`, {
      method,
      headers: { Authorization: `Bearer ${this.#apiKey}`, "Content-Type": "application/json", ...headers },
      body: body && JSON.stringify(body),
      redirect: "error",
      signal: AbortSignal.timeout(mostS * 1000),
    }).catch(unreachable);
    if (answer.ok) return answer.json().catch(unreachable);
    // RFC 9457: programs use `code`. Anything else is a proxy's answer.
    const problem = await answer.json().catch(() => ({}));
    const retryAfter = Number(/^\d+$/.exec(answer.headers.get("retry-after")) ?? 0);
    throw new RelayError(answer.status, problem.code ?? "unknown", problem.detail ?? problem.title ?? "", retryAfter);
  }
}

/**
 * SHA-256 of the transaction's canonical JSON (RFC 8785), base64url: names in order, no blanks, and
 * strings as `JSON.stringify` writes them. Compute it from what you are about to execute.
 */
export function transactionHash({ title, fields }) {
  const canonical = JSON.stringify({ fields: fields.map(({ label, value }) => ({ label, value })), title });
  return createHash("sha256").update(canonical).digest("base64url");
}

/** Canonical base64url: Buffer alone ignores padding and foreign characters. */
function decode(part) {
  const bytes = Buffer.from(part, "base64url");
  require(bytes.toString("base64url") === part, "not base64url");
  return bytes;
}

function object(part) {
  const text = decode(part);
  try {
    return Object(JSON.parse(text));
  } catch {
    throw new Refused("not a JSON object");
  }
}

function require(holds, otherwise) {
  if (!holds) throw new Refused(otherwise);
}
