//! `fido-u2f` (WebAuthn section 8.6): the registration message of FIDO U2F, signed on P-256.

use super::{Members, Subject, Verified, bytes, chain, check_signature, count};
use crate::certificate::Certificate;
use crate::cose::ES256;
use crate::failure::VerifyError;

pub(super) fn verify<'a>(
    members: &'a Members,
    subject: &Subject<'_>,
) -> Result<Verified<'a>, VerifyError> {
    count(members, 2)?;
    let signature = bytes(members, "sig")?;
    let chain = chain(members)?;
    let [only] = chain[..] else { return Err(VerifyError::Statement) };
    let certificate = Certificate::parse(only)?;
    let credential = subject.credential;
    let point = credential.key.p256_point().ok_or(VerifyError::StatementAlgorithm)?;
    let message =
        [&[0][..], subject.rp_id_hash, subject.client_data_hash, &credential.id, point].concat();
    // A certificate with a key that is not on P-256 verifies no signature of this algorithm.
    check_signature(&certificate, ES256, &message, signature)?;
    Ok(Verified::Certified { chain, names_model: false })
}
