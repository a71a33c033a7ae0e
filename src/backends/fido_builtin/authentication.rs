//! Authentication: section 7.2 of WebAuthn Level 3, in its order. Looking the credential up and
//! storing what changed (step 24) is left to the caller.

use super::answer::{Answer, Bytes, Response};
use super::authenticator_data::AuthenticatorData;
use super::client_data::{self, Expected};
use super::cose::PublicKey;
use super::credentials::Credential;
use super::failure::VerifyError;

/// What a verified authentication tells.
pub(super) struct Used {
    /// The signature counter to store.
    pub(super) sign_count: u32,
    /// Flag BS, to store.
    pub(super) backed_up: bool,
    /// Flag UV.
    pub(super) user_verified: bool,
}

/// Verifies an authentication's answer. `allowed` are the ids that were asked for, none meaning
/// any of the user's; `record` is the user's credential with the answer's id, if there is one.
pub(super) fn verify(
    answer: &Answer,
    expected: &Expected<'_>,
    allowed: &[Bytes],
    record: Option<&Credential>,
) -> Result<Used, VerifyError> {
    // Step 3.
    let Response::Signed { authenticator_data, signature, user_handle } = &answer.response else {
        return Err(VerifyError::Response);
    };
    // Step 5.
    if !allowed.is_empty() && !allowed.iter().any(|id| id.0 == answer.id) {
        return Err(VerifyError::NotAllowed);
    }
    // Step 6: the user is always known before, so the handle may be missing but not wrong.
    let record = record.ok_or(VerifyError::UnknownCredential)?;
    if user_handle.as_ref().is_some_and(|handle| *handle != record.user_handle.0) {
        return Err(VerifyError::UserHandle);
    }
    // Steps 8 to 14, and 20.
    let hash = client_data::verify(&answer.client_data, client_data::GET, expected)?;
    // Steps 15 to 18.
    let data = AuthenticatorData::parse(authenticator_data)?;
    if data.attested.is_some() {
        // Section 6.1: an assertion has no attested credential data.
        return Err(VerifyError::AuthenticatorData);
    }
    data.verify(expected)?;
    // Step 19.
    if data.backup_eligible() != record.backup_eligible {
        return Err(VerifyError::BackupEligibility);
    }
    // Step 21.
    let key = PublicKey::from_cose_bytes(&record.public_key.0).ok_or(VerifyError::PublicKey)?;
    if !key.verifies(&[authenticator_data, hash.as_slice()].concat(), signature) {
        return Err(VerifyError::Signature);
    }
    // Step 22: a card has one counter and answers come one after the other, so a counter that
    // does not grow is refused rather than scored.
    let counts = data.sign_count != 0 || record.sign_count != 0;
    if counts && data.sign_count <= record.sign_count {
        return Err(VerifyError::SignCount);
    }
    // Extension outputs (step 23) are ignored: none is asked for.
    Ok(Used {
        sign_count: data.sign_count,
        backed_up: data.backed_up(),
        user_verified: data.user_verified(),
    })
}
