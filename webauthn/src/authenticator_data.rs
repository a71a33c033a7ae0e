//! Authenticator data (WebAuthn section 6.1): what the card signs, taken apart without guessing,
//! and the steps of 7.1 (14 to 17) and 7.2 (15 to 18) that check it.

use aws_lc_rs::digest::{SHA256, digest};

use crate::cbor::{self, Form};
use crate::client_data::Expected;
use crate::cose::PublicKey;
use crate::failure::VerifyError;

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const ATTESTED_CREDENTIAL: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;

/// Authenticator data in parts.
pub(crate) struct AuthenticatorData {
    /// SHA-256 of the relying party id.
    pub(crate) rp_id_hash: [u8; 32],
    flags: u8,
    pub(crate) sign_count: u32,
    /// The new credential, with flag AT.
    pub(crate) attested: Option<AttestedCredential>,
}

/// Attested credential data (section 6.5.1).
pub(crate) struct AttestedCredential {
    /// The card's model.
    pub(crate) aaguid: [u8; 16],
    /// The credential's id, of any length.
    pub(crate) id: Vec<u8>,
    /// The public key as it came.
    pub(crate) cose: Vec<u8>,
    pub(crate) key: PublicKey,
}

impl AuthenticatorData {
    /// Takes the bytes apart; every byte must belong to a part that the flags announce.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, VerifyError> {
        let malformed = VerifyError::AuthenticatorData;
        let (rp_id_hash, rest) = bytes.split_first_chunk::<32>().ok_or(malformed)?;
        let (&[flags], rest) = rest.split_first_chunk::<1>().ok_or(malformed)?;
        let (sign_count, mut rest) = rest.split_first_chunk::<4>().ok_or(malformed)?;
        let attested = match flags & ATTESTED_CREDENTIAL {
            0 => None,
            _ => Some(AttestedCredential::parse(&mut rest)?),
        };
        if flags & EXTENSIONS != 0
            && cbor::item(&mut rest, Form::Shortest).is_none_or(|item| !item.is_map())
        {
            return Err(malformed);
        }
        if !rest.is_empty() {
            return Err(malformed);
        }
        Ok(Self {
            rp_id_hash: *rp_id_hash,
            flags,
            sign_count: u32::from_be_bytes(*sign_count),
            attested,
        })
    }

    /// The steps that both ceremonies share.
    pub(crate) fn verify(&self, expected: &Expected<'_>) -> Result<(), VerifyError> {
        if self.rp_id_hash != digest(&SHA256, expected.rp_id.as_bytes()).as_ref() {
            return Err(VerifyError::RpIdHash);
        }
        if !self.user_present() {
            return Err(VerifyError::UserPresence);
        }
        if expected.user_verification && !self.user_verified() {
            return Err(VerifyError::UserVerification);
        }
        if self.backed_up() && !self.backup_eligible() {
            return Err(VerifyError::BackupState);
        }
        Ok(())
    }

    /// Flag UP.
    pub(crate) fn user_present(&self) -> bool {
        self.flags & USER_PRESENT != 0
    }

    /// Flag UV.
    pub(crate) fn user_verified(&self) -> bool {
        self.flags & USER_VERIFIED != 0
    }

    /// Flag BE.
    pub(crate) fn backup_eligible(&self) -> bool {
        self.flags & BACKUP_ELIGIBLE != 0
    }

    /// Flag BS.
    pub(crate) fn backed_up(&self) -> bool {
        self.flags & BACKED_UP != 0
    }
}

impl AttestedCredential {
    fn parse(bytes: &mut &[u8]) -> Result<Self, VerifyError> {
        let malformed = VerifyError::AuthenticatorData;
        let (aaguid, rest) = bytes.split_first_chunk::<16>().ok_or(malformed)?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(malformed)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (id, mut rest) = rest.split_at_checked(length).ok_or(malformed)?;
        let before = rest;
        // The key's bytes end where its one CBOR item ends.
        let item = cbor::item(&mut rest, Form::Canonical).ok_or(VerifyError::PublicKey)?;
        let cose = before[..before.len() - rest.len()].to_vec();
        let key = PublicKey::from_cose(&item).ok_or(VerifyError::PublicKey)?;
        *bytes = rest;
        Ok(Self { aaguid: *aaguid, id: id.to_vec(), cose, key })
    }
}
