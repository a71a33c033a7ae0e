//! Attestation statements (WebAuthn section 8): one file a format, each with that format's
//! verification procedure. Whether what a statement proves is enough is the policy's question.

mod android_key;
mod apple;
mod fido_u2f;
mod packed;
mod tpm;

use ciborium::Value;

use crate::authenticator_data::AttestedCredential;
use crate::cbor;
use crate::certificate::Certificate;
use crate::failure::VerifyError;

/// Certificates of one statement; a chain of real ones has two or three.
const CHAIN: usize = 8;

/// What a statement was found to be.
pub(crate) enum Verified<'a> {
    /// No attestation.
    None,
    /// Self attestation.
    SelfSigned,
    /// Signed under a certificate, the first of this chain, whose trust is not yet judged.
    Certified {
        /// The certificates of the statement (DER).
        chain: Vec<&'a [u8]>,
        /// Whether the attestation key signed the AAGUID. Under `fido-u2f` the signature does not
        /// cover it; under the others any software that may use the key chooses it.
        names_model: bool,
    },
}

/// What a statement must be about.
pub(crate) struct Subject<'a> {
    pub(crate) credential: &'a AttestedCredential,
    /// SHA-256 of the relying party id, out of the authenticator data.
    pub(crate) rp_id_hash: &'a [u8; 32],
    /// SHA-256 of the client data.
    pub(crate) client_data_hash: &'a [u8],
    /// The authenticator data and the client data's hash, which most formats sign.
    pub(crate) message: &'a [u8],
}

type Members = [(Value, Value)];

/// 7.1 steps 21 and 22.
pub(crate) fn verify<'a>(
    format: &str,
    statement: &'a Value,
    subject: &Subject<'_>,
) -> Result<Verified<'a>, VerifyError> {
    let verify = match format {
        "none" => none,
        "packed" => packed::verify,
        "tpm" => tpm::verify,
        "android-key" => android_key::verify,
        "fido-u2f" => fido_u2f::verify,
        "apple" => apple::verify,
        // Of no known form either: that of `compound` is a list (section 8.9).
        _ => return Err(VerifyError::Format),
    };
    verify(statement.as_map().ok_or(VerifyError::Statement)?, subject)
}

/// `none` (section 8.7).
fn none<'a>(members: &'a Members, _: &Subject<'_>) -> Result<Verified<'a>, VerifyError> {
    if members.is_empty() { Ok(Verified::None) } else { Err(VerifyError::Statement) }
}

/// A signature by the new credential itself.
pub(crate) fn self_signed(
    subject: &Subject<'_>,
    signature: &[u8],
) -> Result<Verified<'static>, VerifyError> {
    if subject.credential.key.verifies(subject.message, signature) {
        Ok(Verified::SelfSigned)
    } else {
        Err(VerifyError::StatementSignature)
    }
}

/// Demands this number of members; with exactly the members that a format reads.
fn count(members: &Members, number: usize) -> Result<(), VerifyError> {
    if members.len() == number { Ok(()) } else { Err(VerifyError::Statement) }
}

fn bytes<'a>(members: &'a Members, name: &str) -> Result<&'a [u8], VerifyError> {
    let value = cbor::by_name(members, name).and_then(Value::as_bytes);
    value.map(Vec::as_slice).ok_or(VerifyError::Statement)
}

fn algorithm(members: &Members) -> Result<i64, VerifyError> {
    cbor::by_name(members, "alg").and_then(cbor::integer).ok_or(VerifyError::Statement)
}

/// The certificates, of which there is at least one.
fn chain(members: &Members) -> Result<Vec<&[u8]>, VerifyError> {
    cbor::by_name(members, "x5c")
        .and_then(Value::as_array)
        .filter(|chain| (1..=CHAIN).contains(&chain.len()))
        .and_then(|chain| chain.iter().map(|one| one.as_bytes().map(Vec::as_slice)).collect())
        .ok_or(VerifyError::Statement)
}

/// Demands the certificate's signature over `message`.
fn check_signature(
    certificate: &Certificate<'_>,
    algorithm: i64,
    message: &[u8],
    signature: &[u8],
) -> Result<(), VerifyError> {
    match certificate.verifies(algorithm, message, signature) {
        Some(true) => Ok(()),
        Some(false) => Err(VerifyError::StatementSignature),
        None => Err(VerifyError::UnknownStatementAlgorithm),
    }
}

/// Demands that the certificate's key is the new credential's.
fn check_same_key(certificate: &Certificate<'_>, subject: &Subject<'_>) -> Result<(), VerifyError> {
    if subject.credential.key.spki().as_deref() == Some(certificate.spki()) {
        Ok(())
    } else {
        Err(VerifyError::StatementSubject)
    }
}
