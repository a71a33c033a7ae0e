//! `packed` (WebAuthn section 8.2): a signature by an attestation key under a certificate, or by
//! the new credential itself.

use super::{
    Members, Subject, Verified, algorithm, bytes, chain, check_signature, count, self_signed,
};
use crate::cbor;
use crate::certificate::Certificate;
use crate::failure::VerifyError;

pub(super) fn verify<'a>(
    members: &'a Members,
    subject: &Subject<'_>,
) -> Result<Verified<'a>, VerifyError> {
    let algorithm = algorithm(members)?;
    let signature = bytes(members, "sig")?;
    if cbor::by_name(members, "x5c").is_none() {
        count(members, 2)?;
        if algorithm != subject.credential.key.algorithm() {
            return Err(VerifyError::StatementAlgorithm);
        }
        return self_signed(subject, signature);
    }
    count(members, 3)?;
    let chain = chain(members)?;
    let certificate = Certificate::parse(chain[0])?;
    check_signature(&certificate, algorithm, subject.message, signature)?;
    certificate.check_packed(&subject.credential.aaguid).map_err(VerifyError::Certificate)?;
    Ok(Verified::Certified { chain, names_model: true })
}
