//! `tpm` (WebAuthn section 8.3): a TPM's attestation identity key certifies that the new
//! credential's key lives in that TPM.

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use ciborium::Value;

use super::{Members, Subject, Verified, algorithm, bytes, chain, check_signature, count};
use crate::cbor;
use crate::certificate::Certificate;
use crate::cose::{ES256, ES384, PS256, PublicKey, RS256};
use crate::failure::VerifyError;

/// `TPM_GENERATED_VALUE` and `TPM_ST_ATTEST_CERTIFY`.
const CERTIFY: [u8; 6] = [0xff, 0x54, 0x43, 0x47, 0x80, 0x17];
/// `clockInfo` (17 bytes) and `firmwareVersion` (8), which are not read.
const CLOCK_AND_FIRMWARE: usize = 25;
/// `TPM_ALG_NULL`.
const NULL: u16 = 0x10;

pub(super) fn verify<'a>(
    members: &'a Members,
    subject: &Subject<'_>,
) -> Result<Verified<'a>, VerifyError> {
    count(members, 6)?;
    if cbor::by_name(members, "ver").and_then(Value::as_text) != Some("2.0") {
        return Err(VerifyError::Statement);
    }
    let (algorithm, signature) = (algorithm(members)?, bytes(members, "sig")?);
    let (certified, public) = (bytes(members, "certInfo")?, bytes(members, "pubArea")?);
    let chain = chain(members)?;
    let certificate = Certificate::parse(chain[0])?;
    check_signature(&certificate, algorithm, certified, signature)?;
    let hash = match algorithm {
        ES256 | RS256 | PS256 => &SHA256,
        ES384 => &SHA384,
        _ => return Err(VerifyError::UnknownStatementAlgorithm),
    };
    let key = credential_key(public, subject.credential.key.algorithm());
    if key.and_then(|key| key.spki()) != subject.credential.key.spki()
        || !certifies(certified, digest(hash, subject.message).as_ref(), public)
    {
        return Err(VerifyError::StatementSubject);
    }
    certificate.check_tpm(&subject.credential.aaguid).map_err(VerifyError::Certificate)?;
    Ok(Verified::Certified { chain, names_model: false })
}

/// Whether a `TPMS_ATTEST` certifies this public area over this data.
fn certifies(attest: &[u8], data: &[u8], public: &[u8]) -> bool {
    let Some(mut rest) = attest.strip_prefix(&CERTIFY) else { return false };
    let mut read = || {
        let _qualified_signer = sized(&mut rest)?;
        let extra_data = sized(&mut rest)?;
        rest = rest.get(CLOCK_AND_FIRMWARE..)?;
        let name = sized(&mut rest)?;
        let _qualified_name = sized(&mut rest)?;
        Some((extra_data, name))
    };
    let Some((extra_data, name)) = read() else { return false };
    rest.is_empty() && extra_data == data && name_of(public).as_deref() == Some(name)
}

/// The Name of a public area: the number of its hash algorithm, and its hash.
fn name_of(public: &[u8]) -> Option<Vec<u8>> {
    let number = public.get(2..4)?;
    let hash: &'static Algorithm = match number {
        [0x00, 0x0b] => &SHA256,
        [0x00, 0x0c] => &SHA384,
        [0x00, 0x0d] => &SHA512,
        _ => return None,
    };
    Some([number, digest(hash, public).as_ref()].concat())
}

/// The key of a `TPMT_PUBLIC`, as one of this COSE algorithm; `None` if it cannot be one.
fn credential_key(mut public: &[u8], algorithm: i64) -> Option<PublicKey> {
    let rest = &mut public;
    let kind = number(rest)?;
    let _name_algorithm = number(rest)?;
    let _attributes = (number(rest)?, number(rest)?);
    let _policy = sized(rest)?;
    // No symmetric cipher for a key that signs; a scheme has a hash.
    let plain = number(rest)? == NULL;
    if number(rest)? != NULL {
        number(rest)?;
    }
    let third = number(rest)?;
    let mut key = vec![(3.into(), algorithm.into())];
    match kind {
        // TPM_ALG_RSA: `third` are the key's bits; an exponent of 0 means 65537.
        0x0001 => {
            let exponent = (u32::from(number(rest)?) << 16) | u32::from(number(rest)?);
            let exponent = if exponent == 0 { 65537 } else { exponent }.to_be_bytes();
            let skip = exponent.iter().position(|byte| *byte != 0)?;
            key.push((1.into(), 3.into()));
            key.push(((-1).into(), Value::Bytes(sized(rest)?.to_vec())));
            key.push(((-2).into(), Value::Bytes(exponent[skip..].to_vec())));
        }
        // TPM_ALG_ECC: `third` is the curve, TPM_ECC_NIST_P256 or TPM_ECC_NIST_P384.
        0x0023 => {
            let (curve, length) = match third {
                3 => (1, 32),
                4 => (2, 48),
                _ => return None,
            };
            if number(rest)? != NULL {
                number(rest)?;
            }
            let mut coordinate = || {
                let short = sized(rest)?;
                let zeros = vec![0; usize::checked_sub(length, short.len())?];
                Some(Value::Bytes([&zeros, short].concat()))
            };
            let (x, y) = (coordinate()?, coordinate()?);
            key.push((1.into(), 2.into()));
            key.push(((-1).into(), curve.into()));
            key.extend([((-2).into(), x), ((-3).into(), y)]);
        }
        _ => return None,
    }
    (plain && public.is_empty()).then(|| PublicKey::from_cose(&Value::Map(key))).flatten()
}

fn number(bytes: &mut &[u8]) -> Option<u16> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    *bytes = rest;
    Some(u16::from_be_bytes(*number))
}

/// A `TPM2B`: a length and so many bytes.
fn sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(number(bytes)?);
    let (sized, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(sized)
}
