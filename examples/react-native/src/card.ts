// The card SDK behind the app's native module (docs/protocol.md, section 9).

import { standardBase64, type ChallengeFrame } from "@fido-relay/client";
import { NativeModules } from "react-native";

type Call = (
  pin: string,
  username: string,
  displayName: string,
  rpId: string,
  challenge: string,
  origin: string,
) => Promise<string>;

/** Each rejects with the SDK's error number, 600 to 617, as `code`. */
interface CardSdk {
  registerCardOnly: Call;
  authenticateCardOnly: Call;
}

/** One tap; returns the SDK's JSON text. The PIN is neither stored nor sent. */
export function tap(challenge: ChallengeFrame, pin: string): Promise<string> {
  const sdk = NativeModules["CardSdk"] as CardSdk;
  const call = challenge.ceremony_type === "registration" ? sdk.registerCardOnly : sdk.authenticateCardOnly;
  const { username, display_name, rp_id, origin } = challenge;
  return call(pin, username, display_name, rp_id, standardBase64(challenge.challenge), origin);
}

/** The SDK's error number; 601, "unknown", for other errors. */
export function cardCode(error: unknown): number {
  const code = Number((error as { code?: unknown } | null)?.code);
  return code >= 600 && code <= 617 ? code : 601;
}
