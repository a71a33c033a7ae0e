//! Client data (WebAuthn section 5.8.1), in which the client states its request to the card, and the
//! steps of 7.1 (5 to 11) and 7.2 (8 to 14) that verify it.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::failure::VerifyError;

/// `type` of a registration's client data.
pub(crate) const CREATE: &str = "webauthn.create";
/// `type` of an authentication's client data.
pub(crate) const GET: &str = "webauthn.get";

/// The values that an answer must have been made for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub challenge: &'a [u8],
    pub rp_id: &'a str,
    /// Origins, of which one must match character by character.
    pub origins: &'a [String],
    /// Origins of pages that may embed the relying party in a frame; empty: no frames.
    pub top_origins: &'a [String],
    /// Whether the card must have verified its user.
    pub user_verification: bool,
}

/// The members that are checked. Others may come with later versions and are passed over; a
/// member that comes twice is an error.
#[derive(Deserialize)]
pub(crate) struct ClientData {
    /// Which ceremony.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The challenge (base64url).
    pub(crate) challenge: String,
    /// Where the card was asked.
    pub(crate) origin: String,
    #[serde(rename = "crossOrigin")]
    cross_origin: Option<bool>,
    #[serde(rename = "topOrigin")]
    top_origin: Option<String>,
}

/// Reads client data, and gives them with their SHA-256 hash.
pub(crate) fn read(bytes: &[u8]) -> Result<(ClientData, Vec<u8>), VerifyError> {
    let text = std::str::from_utf8(bytes).map_err(|_| VerifyError::ClientDataText)?;
    // "UTF-8 decode" (Encoding standard) takes a byte order mark off.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let data: ClientData = serde_json::from_str(text).map_err(|_| VerifyError::ClientDataJson)?;
    Ok((data, digest(&SHA256, bytes).as_ref().to_vec()))
}

/// Checks client data and gives their SHA-256 hash, which the card's signature covers.
pub(crate) fn verify(
    bytes: &[u8],
    kind: &str,
    expected: &Expected<'_>,
) -> Result<Vec<u8>, VerifyError> {
    let (data, hash) = read(bytes)?;
    if data.kind != kind {
        return Err(VerifyError::Type);
    }
    if data.challenge != URL_SAFE_NO_PAD.encode(expected.challenge) {
        return Err(VerifyError::Challenge);
    }
    if !expected.origins.contains(&data.origin) {
        return Err(VerifyError::Origin);
    }
    if data.cross_origin == Some(true) && expected.top_origins.is_empty() {
        return Err(VerifyError::CrossOrigin);
    }
    if let Some(top) = &data.top_origin
        && !expected.top_origins.contains(top)
    {
        return Err(VerifyError::TopOrigin);
    }
    Ok(hash)
}
