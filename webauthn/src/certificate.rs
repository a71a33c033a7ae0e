//! Attestation certificates: the requirements of WebAuthn sections 8.2.1 and 8.3.1, signatures by
//! a certificate's key, and the path from a certificate to a trusted root.

use aws_lc_rs::signature::ParsedPublicKey;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, VerifiedPath};
use x509_parser::der_parser::Oid;
use x509_parser::prelude::{
    AttributeTypeAndValue, FromDer as _, GeneralName, X509Certificate, X509Version,
};

use crate::cose;
use crate::failure::{CertificateFault, VerifyError};

/// `id-fido-gen-ce-aaguid`.
const AAGUID_EXTENSION: [u64; 10] = [1, 3, 6, 1, 4, 1, 45724, 1, 1, 4];
/// `tcg-kp-AIKCertificate`.
const TPM_KEY_PURPOSE: [u64; 5] = [2, 23, 133, 8, 3];
/// `tcg-at-tpmManufacturer`, `tcg-at-tpmModel` and `tcg-at-tpmVersion`.
const TPM_NAMES: [[u64; 5]; 3] = [[2, 23, 133, 2, 1], [2, 23, 133, 2, 2], [2, 23, 133, 2, 3]];

/// An X.509 certificate, read but not trusted.
pub(crate) struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    /// Reads `der` as exactly one certificate.
    pub(crate) fn parse(der: &'a [u8]) -> Result<Self, VerifyError> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(Self(certificate)),
            Ok(_) | Err(_) => Err(VerifyError::Certificate(CertificateFault::Syntax)),
        }
    }

    /// The public key as `SubjectPublicKeyInfo` (DER).
    pub(crate) fn spki(&self) -> &[u8] {
        self.0.public_key().raw
    }

    /// The content of an extension that is there once.
    pub(crate) fn extension(&self, oid: &[u64]) -> Option<&[u8]> {
        let oid = Oid::from(oid).ok()?;
        self.0.get_extension_unique(&oid).ok().flatten().map(|extension| extension.value)
    }

    /// Whether `signature` over `message` is that of the certificate's key, in this COSE
    /// algorithm; `None` if the algorithm is not known.
    pub(crate) fn verifies(
        &self,
        algorithm: i64,
        message: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        let key = ParsedPublicKey::new(cose::verification(algorithm)?, self.spki());
        Some(key.is_ok_and(|key| key.verify_sig(message, signature).is_ok()))
    }

    /// Section 8.2.1, and the AAGUID extension against the model that the authenticator data name
    /// (section 8.2).
    pub(crate) fn check_packed(&self, aaguid: &[u8; 16]) -> Result<(), CertificateFault> {
        let subject = self.0.subject();
        self.check_version()?;
        let country = one(subject.iter_country()).ok_or(CertificateFault::Country)?;
        if country.len() != 2 || !country.bytes().all(|letter| letter.is_ascii_uppercase()) {
            return Err(CertificateFault::Country);
        }
        one(subject.iter_organization()).ok_or(CertificateFault::Organization)?;
        if one(subject.iter_organizational_unit()) != Some("Authenticator Attestation") {
            return Err(CertificateFault::OrganizationalUnit);
        }
        one(subject.iter_common_name()).ok_or(CertificateFault::CommonName)?;
        self.check_end_entity()?;
        self.check_aaguid(aaguid)
    }

    /// Section 8.3.1, and the AAGUID extension (section 8.3).
    pub(crate) fn check_tpm(&self, aaguid: &[u8; 16]) -> Result<(), CertificateFault> {
        self.check_version()?;
        if self.0.subject().iter().next().is_some() {
            return Err(CertificateFault::TpmSubject);
        }
        let names = self.0.subject_alternative_name().ok().flatten();
        let names = names.ok_or(CertificateFault::TpmName)?;
        let directory: Vec<_> = names
            .value
            .general_names
            .iter()
            .flat_map(|name| {
                let GeneralName::DirectoryName(name) = name else { return Vec::new() };
                name.iter_attributes().collect()
            })
            .collect();
        let is_named = |oid: &[u64]| {
            Oid::from(oid).is_ok_and(|oid| directory.iter().any(|name| *name.attr_type() == oid))
        };
        if !TPM_NAMES.iter().all(|oid| is_named(oid)) {
            return Err(CertificateFault::TpmName);
        }
        let purposes = self.0.extended_key_usage().ok().flatten();
        let purpose = Oid::from(&TPM_KEY_PURPOSE).map_err(|_| CertificateFault::TpmKeyUsage)?;
        if !purposes.is_some_and(|purposes| purposes.value.other.contains(&purpose)) {
            return Err(CertificateFault::TpmKeyUsage);
        }
        self.check_end_entity()?;
        self.check_aaguid(aaguid)
    }

    fn check_version(&self) -> Result<(), CertificateFault> {
        if self.0.version() == X509Version::V3 { Ok(()) } else { Err(CertificateFault::Version) }
    }

    fn check_end_entity(&self) -> Result<(), CertificateFault> {
        match self.0.basic_constraints() {
            Ok(Some(constraints)) if !constraints.value.ca => Ok(()),
            Ok(_) | Err(_) => Err(CertificateFault::BasicConstraints),
        }
    }

    fn check_aaguid(&self, aaguid: &[u8; 16]) -> Result<(), CertificateFault> {
        let oid = Oid::from(&AAGUID_EXTENSION).map_err(|_| CertificateFault::Aaguid)?;
        let extension = self.0.get_extension_unique(&oid).map_err(|_| CertificateFault::Aaguid)?;
        let Some(extension) = extension else { return Ok(()) };
        // An OCTET STRING of 16 bytes within the extension's own OCTET STRING.
        let named = extension.value.strip_prefix(&[0x04, 0x10]);
        if extension.critical || named != Some(aaguid) {
            return Err(CertificateFault::Aaguid);
        }
        Ok(())
    }

    /// Whether the key may sign certificates, or its use is not limited (RFC 5280 section 6.1.4,
    /// step n).
    fn may_certify(&self) -> bool {
        self.0.key_usage().is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
    }
}

/// The text of the only attribute; `None` if there are none, several, or an empty one.
fn one<'a>(mut attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>) -> Option<&'a str> {
    let text = attributes.next()?.as_str().ok()?;
    (attributes.next().is_none() && !text.is_empty()).then_some(text)
}

/// Whether the first certificate of `chain` is one of `roots`, or leads to one through the others
/// (RFC 5280 section 6) at this time. Revocation is not looked up.
pub(crate) fn is_trusted(
    chain: &[&[u8]],
    roots: &[CertificateDer<'static>],
    now: UnixTime,
) -> bool {
    let Some((first, rest)) = chain.split_first() else { return false };
    if roots.iter().any(|root| root.as_ref() == *first) {
        return true;
    }
    let first = CertificateDer::from(*first);
    let Ok(certificate) = EndEntityCert::try_from(&first) else { return false };
    let anchors: Vec<_> =
        roots.iter().filter_map(|root| webpki::anchor_from_trusted_cert(root).ok()).collect();
    let rest: Vec<_> = rest.iter().map(|der| CertificateDer::from(*der)).collect();
    certificate
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            &rest,
            now,
            AnyUsage,
            None,
            Some(&issuers_may_certify),
        )
        .is_ok()
}

/// `webpki` checks basic constraints of the certificates between, and not their key usage.
fn issuers_may_certify(path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
    let may_certify = path.intermediate_certificates().all(|issuer| {
        Certificate::parse(issuer.der().as_ref()).is_ok_and(|issuer| issuer.may_certify())
    });
    if may_certify { Ok(()) } else { Err(webpki::Error::UnknownIssuer) }
}

/// Whether this is a certificate that can be a root.
pub(crate) fn is_root(der: &CertificateDer<'_>) -> bool {
    webpki::anchor_from_trusted_cert(der).is_ok()
}

/// Attestation certificates have no extended key usage of their own.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}
