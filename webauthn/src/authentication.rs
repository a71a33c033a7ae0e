//! Authentication: section 7.2 of WebAuthn Level 3, in its order. Looking the credential up and
//! storing what changed (step 24) is left to the caller.

use crate::answer::{Answer, Bytes, Response};
use crate::authenticator_data::AuthenticatorData;
use crate::client_data::{self, Expected};
use crate::cose::PublicKey;
use crate::failure::VerifyError;

/// The relying party's stored data of a credential, with which an authentication is verified
/// (WebAuthn section 4, "credential record").
#[derive(Clone, Copy, Debug)]
pub struct CredentialRecord<'a> {
    /// The user handles that name this credential's user (step 6).
    pub user_handles: &'a [&'a [u8]],
    /// The public key (COSE).
    pub public_key: &'a [u8],
    /// The signature counter last seen.
    pub sign_count: u32,
    /// Flag BE, which never changes.
    pub backup_eligible: bool,
}

/// The result of a verified authentication.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedAssertion {
    /// The signature counter to store.
    pub sign_count: u32,
    /// Flag BS, to store.
    pub backed_up: bool,
    /// Flag UV.
    pub user_verified: bool,
}

/// Verifies an authentication's answer. `allowed` are the ids that were asked for, none meaning
/// any of the user's; `record` is the user's credential with the answer's id, if there is one.
pub fn verify(
    answer: &Answer,
    expected: &Expected<'_>,
    allowed: &[Bytes],
    record: Option<&CredentialRecord<'_>>,
) -> Result<VerifiedAssertion, VerifyError> {
    // Step 3.
    let Response::Signed { authenticator_data, signature, user_handle } = &answer.response else {
        return Err(VerifyError::Response);
    };
    // Step 5.
    if !allowed.is_empty() && !allowed.iter().any(|id| id.0 == answer.id) {
        return Err(VerifyError::NotAllowed);
    }
    // Step 6: the user is identified before, so the handle may be missing but not wrong.
    let record = record.ok_or(VerifyError::UnknownCredential)?;
    if user_handle.as_deref().is_some_and(|handle| !record.user_handles.contains(&handle)) {
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
    let key = PublicKey::from_cose_bytes(record.public_key).ok_or(VerifyError::PublicKey)?;
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
    Ok(VerifiedAssertion {
        sign_count: data.sign_count,
        backed_up: data.backed_up(),
        user_verified: data.user_verified(),
    })
}
