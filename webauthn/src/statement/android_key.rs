//! `android-key` (WebAuthn section 8.4): a certificate for the new credential's key, whose key
//! description says where the key was made and what it is for.

use x509_parser::der_parser::asn1_rs::{Any, FromDer as _, Sequence, Tag};

use super::{
    Members, Subject, Verified, algorithm, bytes, chain, check_same_key, check_signature, count,
};
use crate::certificate::Certificate;
use crate::failure::{CertificateFault, VerifyError};

const KEY_DESCRIPTION: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 1, 17];
/// Tags of `AuthorizationList`.
const PURPOSE: u32 = 1;
const ALL_APPLICATIONS: u32 = 600;
const ORIGIN: u32 = 702;
/// `KM_PURPOSE_SIGN`, as the only one: `SET { INTEGER 2 }`.
const ONLY_SIGN: &[u8] = &[0x31, 0x03, 0x02, 0x01, 0x02];
/// `KM_ORIGIN_GENERATED`: `INTEGER 0`.
const GENERATED: &[u8] = &[0x02, 0x01, 0x00];

pub(super) fn verify<'a>(
    members: &'a Members,
    subject: &Subject<'_>,
) -> Result<Verified<'a>, VerifyError> {
    count(members, 3)?;
    let (algorithm, signature) = (algorithm(members)?, bytes(members, "sig")?);
    let chain = chain(members)?;
    let certificate = Certificate::parse(chain[0])?;
    check_signature(&certificate, algorithm, subject.message, signature)?;
    check_same_key(&certificate, subject)?;
    let fault = VerifyError::Certificate(CertificateFault::KeyDescription);
    let description = certificate.extension(&KEY_DESCRIPTION).ok_or(fault)?;
    let description = KeyDescription::parse(description).ok_or(fault)?;
    if description.challenge != subject.client_data_hash {
        return Err(VerifyError::StatementSubject);
    }
    if !description.is_for_signing_here() {
        return Err(fault);
    }
    Ok(Verified::Certified { chain, names_model: false })
}

/// `KeyDescription` of the Android key attestation's schema.
struct KeyDescription<'a> {
    challenge: &'a [u8],
    software: Vec<Any<'a>>,
    tee: Vec<Any<'a>>,
}

impl<'a> KeyDescription<'a> {
    fn parse(der: &'a [u8]) -> Option<Self> {
        // Versions and security levels of attestation and keymaster, the challenge, a unique id,
        // and the two authorization lists.
        let members = elements(der)?;
        let [_, _, _, _, challenge, _, software, tee] = members.as_slice() else { return None };
        if challenge.tag() != Tag::OctetString {
            return None;
        }
        Some(Self { challenge: challenge.data, software: all(software.data)?, tee: all(tee.data)? })
    }

    /// The statements of both lists under this tag.
    fn stated(&self, tag: u32) -> Vec<&'a [u8]> {
        let both = self.software.iter().chain(&self.tee);
        both.filter(|one| one.tag() == Tag(tag)).map(|one| one.data).collect()
    }

    /// For this application alone, made by the key store, for signing and nothing else; in
    /// whichever list it stands.
    fn is_for_signing_here(&self) -> bool {
        self.stated(ALL_APPLICATIONS).is_empty()
            && self.stated(ORIGIN) == [GENERATED]
            && self.stated(PURPOSE) == [ONLY_SIGN]
    }
}

/// The elements of a `SEQUENCE` that is all of `der`.
fn elements(der: &[u8]) -> Option<Vec<Any<'_>>> {
    let (rest, sequence) = Sequence::from_der(der).ok()?;
    if !rest.is_empty() {
        return None;
    }
    let std::borrow::Cow::Borrowed(content) = sequence.content else { return None };
    all(content)
}

/// The elements of `der` in their order.
fn all(mut der: &[u8]) -> Option<Vec<Any<'_>>> {
    let mut elements = Vec::new();
    while !der.is_empty() {
        let (rest, element) = Any::from_der(der).ok()?;
        elements.push(element);
        der = rest;
    }
    Some(elements)
}
