// The device key and its signatures (docs/protocol.md, sections 3 and 4): compact JWS, ES256. The
// private key stays in WebCrypto, not extractable, or behind the app's own signer.

/** A P-256 public key (RFC 7517). */
export interface P256Jwk {
  kty: "EC";
  crv: "P-256";
  x: string;
  y: string;
}

/** A device key; an app can implement it in a few lines over the phone's key store. */
export interface DeviceSigner {
  readonly jwk: P256Jwk;
  /** ECDSA with SHA-256 over these bytes: 64 bytes R ‖ S, or DER as key stores return it. */
  sign(bytes: Uint8Array): Promise<Uint8Array>;
  /** SHA-256, required where there is no WebCrypto. */
  sha256?(bytes: Uint8Array): Promise<Uint8Array>;
}

/** A `CryptoKeyPair`, declared here for apps without browser types. */
export interface DeviceKeyPair {
  readonly privateKey: object;
  readonly publicKey: object;
}

/** Browsers have WebCrypto in secure contexts only, React Native never. */
function subtle(): SubtleCrypto {
  const found = globalThis.crypto?.subtle as SubtleCrypto | undefined;
  if (!found) {
    throw new TypeError(
      "there is no WebCrypto here: a page needs https (or localhost), and React Native a `signer` of the app's with `sha256`",
    );
  }
  return found;
}

/** Creates a key in WebCrypto. It is not extractable; IndexedDB can store it. */
export async function generateDeviceKey(): Promise<DeviceKeyPair> {
  return subtle().generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
}

/** A signer with a WebCrypto key. */
export async function webCryptoSigner(pair: DeviceKeyPair): Promise<DeviceSigner> {
  const { privateKey, publicKey } = pair as CryptoKeyPair;
  const { x, y } = await subtle().exportKey("jwk", publicKey);
  if (!x || !y) throw new TypeError("not a P-256 key");
  return {
    jwk: { kty: "EC", crv: "P-256", x, y },
    async sign(bytes) {
      const algorithm = { name: "ECDSA", hash: "SHA-256" };
      return new Uint8Array(await subtle().sign(algorithm, privateKey, bytes as Uint8Array<ArrayBuffer>));
    },
  };
}

/** base64url without padding (RFC 4648, section 5). */
export function base64url(bytes: Uint8Array): string {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  let text = "";
  for (let at = 0; at < bytes.length; at += 3) {
    const three = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    for (let digit = 0; digit < Math.min(4, bytes.length - at + 1); digit += 1) {
      text += digits[(three >> (18 - 6 * digit)) & 63];
    }
  }
  return text;
}

/** The SHA-256 of a text, base64url. */
export async function hashOf(signer: DeviceSigner, text: string): Promise<string> {
  const bytes = new TextEncoder().encode(text);
  const hash = signer.sha256 ? await signer.sha256(bytes) : new Uint8Array(await subtle().digest("SHA-256", bytes));
  return base64url(hash);
}

/** The key's thumbprint (RFC 7638). */
export function thumbprint(signer: DeviceSigner): Promise<string> {
  const { x, y } = signer.jwk;
  return hashOf(signer, JSON.stringify({ crv: "P-256", kty: "EC", x, y }));
}

/** A compact JWS of this `typ` over these claims and the time. */
export async function signed(
  signer: DeviceSigner,
  typ: string,
  claims: Record<string, string>,
  iat = Math.floor(Date.now() / 1000),
): Promise<string> {
  const part = (value: object) => base64url(new TextEncoder().encode(JSON.stringify(value)));
  const input = `${part({ alg: "ES256", typ })}.${part({ ...claims, iat })}`;
  const signature = await signer.sign(new TextEncoder().encode(input));
  return `${input}.${base64url(signature.length === 64 ? signature : fromDer(signature))}`;
}

/** Converts DER (SEQUENCE of two INTEGERs of at most 33 bytes each) to R ‖ S. */
function fromDer(der: Uint8Array): Uint8Array {
  const raw = new Uint8Array(64);
  let at = 2;
  for (const end of [32, 64]) {
    const length = der[at + 1] ?? 0;
    const number = der.slice(at + 2, at + 2 + length);
    const short = number.slice(Math.max(0, number.length - 32));
    const malformed = der[0] !== 0x30 || der[at] !== 0x02 || number.length !== length || length > 33;
    if (malformed || (length === 33 && number[0] !== 0)) throw new TypeError("not an ECDSA P-256 signature");
    raw.set(short, end - short.length);
    at += 2 + length;
  }
  return raw;
}
