// Verifies result tokens of fido-relay with Node's own cryptography (Node 18 or later), without a
// package. `verifyResult` is the part to take; the rest reads questions from standard input, see
// README.md.
import { createPublicKey, verify } from "node:crypto";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const LEEWAY_S = 5;
/** Claims that must be exactly what was sent; one that was not sent must not be there. */
const COMPARED = [
  "iss", "aud", "jti", "sub", "client_nonce", "ceremony_type", "binding", "tx_hash",
];

/**
 * The claims of a token that proves `expected`; throws for any other.
 *
 * @param token the `result` of `GET /v1/ceremonies/{id}`
 * @param jwks the JWK set of the relay, from `/.well-known/jwks.json`
 * @param expected the values of `COMPARED`, from what was opened
 * @param now seconds since 1970
 */
export function verifyResult(token, jwks, expected, now = Math.floor(Date.now() / 1000)) {
  const parts = token.split(".");
  if (parts.length !== 3) throw new Error("not a compact JWS");
  const [header, payload, signature] = parts.map(decode);
  const { alg, typ, kid, crit } = JSON.parse(header);
  if (alg !== "ES256" || typ !== "ceremony-result+jwt" || crit !== undefined) {
    throw new Error("another kind of token");
  }
  const { kty, crv, x, y } = jwks.keys.find((key) => key.kid === kid) ?? {};
  if (kty !== "EC" || crv !== "P-256") throw new Error("no such key");
  const key = createPublicKey({ key: { kty, crv, x, y }, format: "jwk" });
  const signed = Buffer.from(`${parts[0]}.${parts[1]}`);
  if (!verify("sha256", signed, { key, dsaEncoding: "ieee-p1363" }, signature)) {
    throw new Error("the signature does not verify");
  }

  const claims = JSON.parse(payload);
  for (const name of COMPARED) {
    if (claims[name] !== expected[name]) throw new Error(`another ${name}`);
  }
  if (claims.outcome !== "succeeded") throw new Error("not a success");
  if (!(claims.iat <= now + LEEWAY_S && now < claims.exp + LEEWAY_S)) throw new Error("not valid now");
  // Two factors: leave this out only if your policy takes a card without its PIN.
  if (!claims.amr.includes("pin")) throw new Error("the card did not verify its user");
  return claims;
}

/** Base64url in its one spelling: Buffer alone passes over padding and foreign characters. */
function decode(part) {
  const bytes = Buffer.from(part, "base64url");
  if (bytes.toString("base64url") !== part) throw new Error("not base64url");
  return bytes;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { token, jwks, expected, now } = JSON.parse(line);
    try {
      verifyResult(token, jwks, expected, now);
      console.log("ok");
    } catch (error) {
      console.log(`refused: ${error.message}`);
    }
  }
}
