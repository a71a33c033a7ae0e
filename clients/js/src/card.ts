// What the card SDK takes, out of what the relay sends (docs/protocol.md, section 9).

/** A frame's `challenge` (base64url without padding) as the SDK wants it: standard base64, padded. */
export function standardBase64(base64url: string): string {
  const text = base64url.replaceAll("-", "+").replaceAll("_", "/");
  return text.padEnd(Math.ceil(text.length / 4) * 4, "=");
}
