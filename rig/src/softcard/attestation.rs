//! Attestation (WebAuthn section 6.5), and the vendor sample's form without an attestation object.

use ciborium::Value;
use fido_relay_proto::device::CardErrorCode;
use fido_relay_webauthn::{ES256, KeyPair};

/// A manufacturer's attestation key, for [`AttestationStyle::PackedX5c`].
#[derive(Debug)]
pub struct AttestationKey(KeyPair);

impl AttestationKey {
    /// The ES256 key of a PKCS#8 document (DER).
    ///
    /// # Errors
    /// [`CardErrorCode::SIGNATURE_FAILED`] if the document holds no such key.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, CardErrorCode> {
        KeyPair::from_pkcs8(ES256, document).map(Self).ok_or(CardErrorCode::SIGNATURE_FAILED)
    }
}

/// The form of a registration's answer. The server's `attestation` option has no influence, so that a
/// server's policy can be tried with each form.
#[derive(Debug, Default)]
pub enum AttestationStyle {
    /// Format `none`.
    #[default]
    None,
    /// Format `packed`, signed by the credential's own key.
    PackedSelf,
    /// Format `packed`, signed by a key with a certificate.
    PackedX5c {
        /// The key of the first certificate.
        key: AttestationKey,
        /// Certificates (DER), the key's own first, without the root.
        chain: Vec<Vec<u8>>,
    },
    /// The vendor sample's form: `authenticatorData`, `clientDataJSON` and a `signature` by the
    /// credential's own key, without an attestation object.
    BareSignature,
}

impl AttestationStyle {
    /// The attestation object (section 6.5.4) over this authenticator data and hash of client
    /// data; `None` for the form that has none.
    pub(super) fn object(
        &self,
        key: &KeyPair,
        auth_data: &[u8],
        client_data_hash: &[u8],
    ) -> Result<Option<Vec<u8>>, CardErrorCode> {
        let to_sign = [auth_data, client_data_hash].concat();
        let (format, statement) = match self {
            Self::None => ("none", Vec::new()),
            Self::PackedSelf => ("packed", packed(key, &to_sign)?),
            Self::PackedX5c { key: AttestationKey(key), chain } => {
                let mut statement = packed(key, &to_sign)?;
                let chain = chain.iter().map(|der| Value::Bytes(der.clone())).collect();
                statement.push(("x5c".into(), Value::Array(chain)));
                ("packed", statement)
            }
            Self::BareSignature => return Ok(None),
        };
        let object = Value::Map(vec![
            ("fmt".into(), format.into()),
            ("attStmt".into(), Value::Map(statement)),
            ("authData".into(), Value::Bytes(auth_data.to_vec())),
        ]);
        encode(&object).map(Some)
    }
}

fn packed(key: &KeyPair, to_sign: &[u8]) -> Result<Vec<(Value, Value)>, CardErrorCode> {
    let signature = key.sign(to_sign).ok_or(CardErrorCode::SIGNATURE_FAILED)?;
    Ok(vec![("alg".into(), key.algorithm().into()), ("sig".into(), Value::Bytes(signature))])
}

/// A value as CBOR.
pub(super) fn encode(value: &Value) -> Result<Vec<u8>, CardErrorCode> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|_| CardErrorCode::UNKNOWN)?;
    Ok(bytes)
}
