//! A device's proofs: the claims of each, and its `typ`, by which one cannot be used as another.

use serde::{Deserialize, Serialize};

use crate::ids::DeviceId;
use crate::number;

/// The device id that an `auth` proof claims, and the rest of its payload (RFC 7519 claims).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuthClaims {
    /// The socket URL that the app dialled.
    pub aud: String,
    /// The relay's nonce.
    pub nonce: String,
    /// The device whose key signs.
    pub device_id: DeviceId,
    /// When, in seconds by the phone's clock; kept for the log, not compared.
    #[serde(deserialize_with = "number::any")]
    pub iat: u64,
}

/// Claims of a pairing proof.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PairingClaims {
    /// The URL that the app posts to.
    pub aud: String,
    /// SHA-256 (base64url) of the pairing token, or of the typed code in its plain form
    /// (ten capitals and digits, no hyphen).
    pub token_hash: String,
    /// RFC 7638 thumbprint of the device key (base64url of SHA-256).
    pub jkt: String,
    /// When, in seconds by the phone's clock.
    #[serde(deserialize_with = "number::any")]
    pub iat: u64,
}

/// Claims of the proof that one HTTP request of a device carries, in the manner of DPoP (RFC 9449
/// section 4.2).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PullClaims {
    /// The relay's base URL that the app was given.
    pub aud: String,
    /// The request's method, in capitals.
    pub htm: String,
    /// The request's URL without query and fragment.
    pub htu: String,
    /// The device whose key signs.
    pub device_id: DeviceId,
    /// When, in seconds by the phone's clock; kept for the log, not compared.
    #[serde(deserialize_with = "number::any")]
    pub iat: u64,
    /// Names this proof: 16 to 64 characters, never used again.
    pub jti: String,
    /// The relay's nonce, from the `DPoP-Nonce` header of its last answer.
    pub nonce: String,
    /// SHA-256 (base64url) of the request's body; of nothing where there is none.
    pub body_sha256: String,
}

/// `typ` of the proof of one HTTP request.
pub const PULL_TYP: &str = "fido-relay-pull+jwt";
/// `typ` of the `auth` proof.
pub const AUTH_TYP: &str = "fido-relay-device+jwt";
/// `typ` of the pairing proof.
pub const PAIRING_TYP: &str = "fido-relay-pairing+jwt";

/// Claims of the two proofs of a key rotation: the old key and the new one sign the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct KeyClaims {
    /// The URL that the app posts to.
    pub aud: String,
    /// Whose keys they are.
    pub device_id: DeviceId,
    /// RFC 7638 thumbprint of the old key.
    pub old_jkt: String,
    /// RFC 7638 thumbprint of the new key.
    pub new_jkt: String,
    /// When, in seconds since 1970. Compared: a rotation that was signed long ago is not obeyed.
    #[serde(deserialize_with = "number::any")]
    pub iat: u64,
}

/// `typ` of the old key's proof in a key rotation.
pub const KEY_ROTATION_TYP: &str = "fido-relay-key-rotation+jwt";
/// `typ` of the new key's proof in a key rotation.
pub const KEY_POSSESSION_TYP: &str = "fido-relay-key-possession+jwt";
