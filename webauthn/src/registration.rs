//! Registration: section 7.1 of WebAuthn Level 3, in its order. What needs the store (step 26)
//! is left to the caller, which stores the credential.

use rustls_pki_types::UnixTime;

use crate::answer::{Answer, Response};
use crate::attestation::{Attestation, AttestationOutcome, AttestationPolicy};
use crate::authenticator_data::AuthenticatorData;
use crate::client_data::{self, Expected};
use crate::failure::VerifyError;
use crate::model::Model;

/// Longest credential id (step 25).
const CREDENTIAL_ID_BYTES: usize = 1023;

/// What a verified registration made.
#[derive(Debug)]
pub struct NewCredential {
    /// The credential's id.
    pub id: Vec<u8>,
    /// Its public key (COSE).
    pub public_key: Vec<u8>,
    /// Its signature counter.
    pub sign_count: u32,
    /// Flag UV.
    pub user_verified: bool,
    /// Flag BE.
    pub backup_eligible: bool,
    /// Flag BS.
    pub backed_up: bool,
    /// The card's model.
    pub aaguid: [u8; 16],
    /// How far its attestation was verified.
    pub attestation: AttestationOutcome,
    /// Why the statement was ignored, with [`AttestationOutcome::Ignored`].
    pub ignored: Option<VerifyError>,
    /// The card's model by name, where it is known.
    pub model: Option<Model>,
}

/// Verifies a registration's answer; `algorithms` are those that were offered.
pub fn verify(
    answer: Answer,
    expected: &Expected<'_>,
    algorithms: &[i64],
    policy: &AttestationPolicy,
    now: UnixTime,
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
    let assessed = attestation.verify(&data, credential, &hash, policy, now)?;
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
        attestation: assessed.attested,
        ignored: assessed.ignored,
        model: assessed.model,
    })
}
