//! `apple` (WebAuthn section 8.8): a certificate for the new credential's key that contains a hash
//! of the attested data.

use aws_lc_rs::digest::{SHA256, digest};

use super::{Members, Subject, Verified, chain, check_same_key, count};
use crate::certificate::Certificate;
use crate::failure::VerifyError;

const NONCE_EXTENSION: [u64; 7] = [1, 2, 840, 113635, 100, 8, 2];
/// `SEQUENCE { [1] EXPLICIT OCTET STRING }` of 32 bytes.
const NONCE_PREFIX: [u8; 6] = [0x30, 0x24, 0xa1, 0x22, 0x04, 0x20];

pub(super) fn verify<'a>(
    members: &'a Members,
    subject: &Subject<'_>,
) -> Result<Verified<'a>, VerifyError> {
    count(members, 1)?;
    let chain = chain(members)?;
    let certificate = Certificate::parse(chain[0])?;
    let nonce = digest(&SHA256, subject.message);
    let expected = [&NONCE_PREFIX, nonce.as_ref()].concat();
    if certificate.extension(&NONCE_EXTENSION) != Some(expected.as_slice()) {
        return Err(VerifyError::StatementSubject);
    }
    check_same_key(&certificate, subject)?;
    Ok(Verified::Certified { chain, names_model: false })
}
