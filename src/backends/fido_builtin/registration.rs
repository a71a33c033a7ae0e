//! Registration: section 7.1 of WebAuthn Level 3, in its order. What needs the store (step 26)
//! is left to whoever stores the credential.

use fido_relay_proto::UnixMillis;

use super::answer::{Answer, Response};
use super::attestation::{Attestation, AttestationPolicy};
use super::authenticator_data::AuthenticatorData;
use super::client_data::{self, Expected};
use super::failure::VerifyError;

/// Longest credential id (step 25).
const CREDENTIAL_ID_BYTES: usize = 1023;

/// What a verified registration made.
pub(super) struct NewCredential {
    /// The credential's id.
    pub(super) id: Vec<u8>,
    /// Its public key (COSE).
    pub(super) public_key: Vec<u8>,
    /// Its signature counter.
    pub(super) sign_count: u32,
    /// Flag UV.
    pub(super) user_verified: bool,
    /// Flag BE.
    pub(super) backup_eligible: bool,
    /// Flag BS.
    pub(super) backed_up: bool,
    /// The card's model.
    pub(super) aaguid: [u8; 16],
}

/// Verifies a registration's answer; `algorithms` are those that were offered.
pub(super) fn verify(
    answer: Answer,
    expected: &Expected<'_>,
    algorithms: &[i64],
    policy: &AttestationPolicy,
    now: UnixMillis,
) -> Result<NewCredential, VerifyError> {
    // Steps 5 to 12.
    let hash = client_data::verify(&answer.client_data, client_data::CREATE, expected)?;
    // Step 13.
    let attestation = match answer.response {
        Response::Attestation { object } => Attestation::parse(&object)?,
        Response::Signed { authenticator_data, signature, .. } => {
            Attestation::bare(authenticator_data, signature)
        }
    };
    let data = AuthenticatorData::parse(&attestation.authenticator_data)?;
    // Steps 14 to 17. Steps 18 and 19 are for policies that this server has not.
    data.verify(expected)?;
    // A registration without a credential registers nothing (section 6.1, flag AT).
    let credential = data.attested.as_ref().ok_or(VerifyError::AuthenticatorData)?;
    // Step 20.
    if !algorithms.contains(&credential.key.algorithm()) {
        return Err(VerifyError::Algorithm);
    }
    // Steps 21 to 24.
    attestation.verify(credential, &hash, policy, now)?;
    // Step 25.
    if credential.id.is_empty() || credential.id.len() > CREDENTIAL_ID_BYTES {
        return Err(VerifyError::CredentialIdLength);
    }
    if credential.id != answer.id {
        return Err(VerifyError::CredentialId);
    }
    // Step 27. Extension outputs (step 28) are ignored: none is asked for.
    Ok(NewCredential {
        id: credential.id.clone(),
        public_key: credential.cose.clone(),
        sign_count: data.sign_count,
        user_verified: data.user_verified(),
        backup_eligible: data.backup_eligible(),
        backed_up: data.backed_up(),
        aaguid: credential.aaguid,
    })
}
