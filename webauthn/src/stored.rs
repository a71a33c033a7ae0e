//! Verifies a stored answer again, years later, without session, store, policy or network. It reports
//! what the bytes prove; whether that was requested is for the caller to decide.

use crate::attestation::{Attestation, AttestationSigner};
use crate::authenticator_data::AuthenticatorData;
use crate::client_data::{self, ClientData};
use crate::cose::PublicKey;
use crate::failure::VerifyError;

/// The stored part of an answer.
#[derive(Clone, Copy, Debug)]
pub enum StoredAnswer<'a> {
    /// An authentication's: the signature is verified with this COSE key.
    Assertion {
        authenticator_data: &'a [u8],
        /// The card's signature.
        signature: &'a [u8],
        /// The credential's public key.
        public_key: &'a [u8],
    },
    /// A registration's attestation object.
    Attestation(&'a [u8]),
    /// A registration in the form of the vendor's sample: authenticator data signed by the new
    /// credential itself.
    Bare {
        authenticator_data: &'a [u8],
        /// The card's signature.
        signature: &'a [u8],
    },
}

/// What verified bytes show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerFacts {
    /// Whether a credential was made; otherwise one was used.
    pub registration: bool,
    /// The challenge in the client data (base64url, unchanged).
    pub challenge: String,
    /// The origin in the client data.
    pub origin: String,
    /// SHA-256 of the relying party id.
    pub rp_id_hash: [u8; 32],
    /// Flag UP.
    pub user_present: bool,
    /// Flag UV: the card verified its user.
    pub user_verified: bool,
    pub sign_count: u32,
    /// With a registration: the new credential.
    pub made: Option<CreatedCredential>,
}

/// A credential that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedCredential {
    pub credential_id: Vec<u8>,
    /// Its public key (COSE).
    pub public_key: Vec<u8>,
    /// Who signed for it.
    pub attested_by: AttestationSigner,
}

/// Verifies the signature over an answer and returns the signed data.
///
/// # Errors
/// [`VerifyError`].
pub fn verify_stored(
    client_data: &[u8],
    answer: StoredAnswer<'_>,
) -> Result<AnswerFacts, VerifyError> {
    let (said, hash) = client_data::read(client_data)?;
    match answer {
        StoredAnswer::Assertion { authenticator_data, signature, public_key } => {
            expect_kind(&said, client_data::GET)?;
            let data = AuthenticatorData::parse(authenticator_data)?;
            if data.attested.is_some() {
                return Err(VerifyError::AuthenticatorData);
            }
            let key = PublicKey::from_cose_bytes(public_key).ok_or(VerifyError::PublicKey)?;
            if !key.verifies(&[authenticator_data, hash.as_slice()].concat(), signature) {
                return Err(VerifyError::Signature);
            }
            Ok(shown(said, &data, None))
        }
        StoredAnswer::Attestation(object) => made(said, &hash, &Attestation::parse(object)?),
        StoredAnswer::Bare { authenticator_data, signature } => {
            let bare = Attestation::bare(authenticator_data.to_vec(), signature.to_vec());
            made(said, &hash, &bare)
        }
    }
}

fn expect_kind(said: &ClientData, kind: &str) -> Result<(), VerifyError> {
    if said.kind == kind { Ok(()) } else { Err(VerifyError::Type) }
}

fn made(
    said: ClientData,
    hash: &[u8],
    attestation: &Attestation,
) -> Result<AnswerFacts, VerifyError> {
    expect_kind(&said, client_data::CREATE)?;
    let data = AuthenticatorData::parse(&attestation.authenticator_data)?;
    let credential = data.attested.as_ref().ok_or(VerifyError::AuthenticatorData)?;
    let made = CreatedCredential {
        credential_id: credential.id.clone(),
        public_key: credential.cose.clone(),
        attested_by: attestation.attested_by(&data, credential, hash)?,
    };
    Ok(shown(said, &data, Some(made)))
}

fn shown(
    said: ClientData,
    data: &AuthenticatorData,
    made: Option<CreatedCredential>,
) -> AnswerFacts {
    AnswerFacts {
        registration: made.is_some(),
        challenge: said.challenge,
        origin: said.origin,
        rp_id_hash: data.rp_id_hash,
        user_present: data.user_present(),
        user_verified: data.user_verified(),
        sign_count: data.sign_count,
        made,
    }
}
