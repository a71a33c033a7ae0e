//! Attestation objects and what goes with them as bytes: what is in them, and where.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value as Cbor;
use serde_json::Value;

/// Bytes within an answer.
pub(crate) fn bytes(text: &Value) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.as_str()?.trim_end_matches('=')).ok()
}

/// The format that a registration's answer names; `None` if it has no attestation object.
pub(crate) fn format(answer: &Value) -> Option<String> {
    let object = bytes(&answer["response"]["attestationObject"])?;
    let object: Cbor = ciborium::from_reader(object.as_slice()).ok()?;
    let (_, format) = object.as_map()?.iter().find(|(key, _)| key.as_text() == Some("fmt"))?;
    format.as_text().map(str::to_owned)
}

/// The part of an attestation object that holds this bit.
pub(super) fn part(object: &[u8], authenticator_data: &[u8], bit: usize) -> &'static str {
    let length = authenticator_data.len();
    let start = object.windows(length).position(|window| window == authenticator_data).unwrap();
    match bit.checked_sub(8 * start) {
        Some(within) if within < 8 * length => inner_part(authenticator_data, within),
        // The length of the authenticator data has one byte or two.
        None if bit + if length < 256 { 8 } else { 16 } >= 8 * start => "length",
        _ => "frame",
    }
}

/// The part of client data that holds this bit. The last character of a challenge of 32 bytes has
/// bits that stand for none of theirs.
pub(super) fn client_part(client_data: &[u8], bit: usize) -> &'static str {
    let name = b"\"challenge\":\"";
    let start = client_data.windows(name.len()).position(|window| window == name).unwrap();
    if bit / 8 == start + name.len() + 42 { "end of the challenge" } else { "client data" }
}

/// The part of authenticator data that holds this bit (WebAuthn sections 6.1 and 6.5.1).
pub(super) fn inner_part(authenticator_data: &[u8], bit: usize) -> &'static str {
    let id = usize::from(authenticator_data.get(54).copied().unwrap_or(0));
    match bit / 8 {
        0..32 => "rpIdHash",
        32 if bit % 8 == 4 => "flag BS",
        32 => "flags",
        33..37 => "counter",
        37..53 => "aaguid",
        53..55 => "id length",
        byte if byte < 55 + id => "id",
        _ => "public key",
    }
}
