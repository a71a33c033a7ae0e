// Pairing (docs/protocol.md, section 3): a one-time link or a typed code becomes a device.

import { hashOf, signed, thumbprint, type DeviceSigner } from "./device_key.js";
import type { Platform } from "./frames.js";
import { reasonOf, retryAfterMs } from "./pause.js";
import { detailOf, withDetail } from "./problem.js";

/** The result of pairing. Store it with the key. */
export interface PairedDevice {
  device_id: string;
  socket_url: string;
}

export type PairingOrder = {
  /** Base URL of the relay, without a trailing slash. Show its host to the user before pairing. */
  relay: string;
  signer: DeviceSigner;
  platform: Platform;
  /** The user's name for the phone. */
  name?: string;
  /** Allow `http` for a relay on this machine: for development builds only. */
  allowLoopback?: boolean;
  signal?: AbortSignal;
  fetch?: typeof fetch;
} & ({ token: string } | { typedCode: string });

/** Pairing failed; use `code` (docs/protocol.md, section 3). */
export class PairingError extends Error {
  override name = "PairingError";
  constructor(
    /** The refusal's HTTP status; 0 without an answer. */
    readonly status: number,
    /**
     * The problem's `code`; `unreachable` without an answer; `insecure_socket` if the relay returned an
     * unencrypted socket URL.
     */
    readonly code: string,
    /** With 429 and 503: milliseconds to wait before sending the same again. */
    readonly retryAfterMs: number,
    /** The relay's explanation, for a log: the field and what it accepts. */
    readonly detail?: string,
  ) {
    super(`not paired: ${status} ${code}${withDetail(detail)}`);
  }
}

/** The relay and the token of a `fido-relay://pair` link. */
export function parsePairingLink(link: string): { relay: string; token: string } {
  const query = /^fido-relay:\/\/pair\/?\?([^#]*)/.exec(link)?.[1];
  const part = (name: string) => new RegExp(`(?:^|&)${name}=([^&]+)`).exec(query ?? "")?.[1];
  const [relay, token] = [part("relay"), part("token")];
  if (!relay || !token) throw new TypeError("not a pairing link");
  try {
    return { relay: decodeURIComponent(relay), token: decodeURIComponent(token) };
  } catch {
    throw new TypeError("not a pairing link");
  }
}

/** The canonical form of a typed code. */
export function plainTypedCode(code: string): string {
  const plain = code.toUpperCase().replace(/[\s-]/g, "").replace(/[IL]/g, "1").replace(/O/g, "0");
  if (!/^[0-9A-HJKMNP-TV-Z]{10}$/.test(plain)) throw new TypeError("not a pairing code");
  return plain;
}

/** Makes the signer's key a device of the user for whom the token or code was created. */
export async function pairDevice(order: PairingOrder): Promise<PairedDevice> {
  const { signer, platform, name } = order;
  const loopback = /^http:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/.test(order.relay);
  if (!order.relay.startsWith("https://") && !(loopback && order.allowLoopback)) {
    throw new TypeError("a relay's URL must be https");
  }
  const aud = `${order.relay}/v1/devices`;
  const secret = "token" in order ? order.token : plainTypedCode(order.typedCode);
  const claims = { aud, token_hash: await hashOf(signer, secret), jkt: await thumbprint(signer) };
  const body = {
    ...("token" in order ? { pairing_token: secret } : { typed_code: secret }),
    jwk: signer.jwk,
    proof: await signed(signer, "fido-relay-pairing+jwt", claims),
    ...(name === undefined ? {} : { name }),
    platform,
  };
  const send = order.fetch ?? fetch;
  const { signal } = order;
  let response: Response;
  try {
    response = await send(aud, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      credentials: "omit",
      redirect: "error",
      ...(signal ? { signal } : {}),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new PairingError(0, "unreachable", 0);
  }
  const answer = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  if (signal?.aborted) throw reasonOf(signal);
  const { device_id, socket_url, code } = answer;
  if (response.status === 201 && typeof device_id === "string" && typeof socket_url === "string") {
    const near = /^ws:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d+)?\//.test(socket_url);
    // Proofs and answers go to this URL for the life of the device.
    if (!socket_url.startsWith("wss://") && !(near && order.allowLoopback)) {
      throw new PairingError(response.status, "insecure_socket", 0);
    }
    return { device_id, socket_url };
  }
  const wait = retryAfterMs(response.headers.get("retry-after"));
  const known = typeof code === "string" ? code : "unknown";
  throw new PairingError(response.status, known, wait, detailOf(answer));
}
