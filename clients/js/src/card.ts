// Conversions for the card SDK (docs/protocol.md, section 9).

/** Converts a frame's `challenge` (base64url without padding) to the SDK's standard base64, padded. */
export function standardBase64(base64url: string): string {
  const text = base64url.replaceAll("-", "+").replaceAll("_", "/");
  return text.padEnd(Math.ceil(text.length / 4) * 4, "=");
}
