//! Attestation certificates: the requirements of WebAuthn section 8.2.1, signatures by a
//! certificate's key, and the path from a certificate to a trusted root.

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_parser::prelude::{AttributeTypeAndValue, FromDer as _, X509Certificate, X509Version};

use crate::cose::{EDDSA, ES256, RS256};
use crate::failure::CertificateFault;

/// `id-fido-gen-ce-aaguid`, 1.3.6.1.4.1.45724.1.1.4.
const AAGUID_EXTENSION: [u64; 10] = [1, 3, 6, 1, 4, 1, 45724, 1, 1, 4];

/// Checks every requirement of section 8.2.1, and the AAGUID extension against the model that the
/// authenticator data name (section 8.2).
pub(crate) fn check_requirements(der: &[u8], aaguid: &[u8; 16]) -> Result<(), CertificateFault> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| CertificateFault::Syntax)?;
    if !rest.is_empty() {
        return Err(CertificateFault::Syntax);
    }
    if certificate.version() != X509Version::V3 {
        return Err(CertificateFault::Version);
    }
    let subject = certificate.subject();
    let country = one(subject.iter_country()).ok_or(CertificateFault::Country)?;
    if country.len() != 2 || !country.bytes().all(|letter| letter.is_ascii_uppercase()) {
        return Err(CertificateFault::Country);
    }
    one(subject.iter_organization()).ok_or(CertificateFault::Organization)?;
    if one(subject.iter_organizational_unit()) != Some("Authenticator Attestation") {
        return Err(CertificateFault::OrganizationalUnit);
    }
    one(subject.iter_common_name()).ok_or(CertificateFault::CommonName)?;
    match certificate.basic_constraints() {
        Ok(Some(constraints)) if !constraints.value.ca => {}
        Ok(_) | Err(_) => return Err(CertificateFault::BasicConstraints),
    }
    let oid = x509_parser::der_parser::Oid::from(&AAGUID_EXTENSION)
        .map_err(|_| CertificateFault::Aaguid)?;
    let extension = certificate.get_extension_unique(&oid).map_err(|_| CertificateFault::Aaguid)?;
    if let Some(extension) = extension {
        // An OCTET STRING of 16 bytes within the extension's own OCTET STRING.
        let named = extension.value.strip_prefix(&[0x04, 0x10]);
        if extension.critical || named != Some(aaguid) {
            return Err(CertificateFault::Aaguid);
        }
    }
    Ok(())
}

/// The text of the only attribute; `None` if there are none, several, or an empty one.
fn one<'a>(mut attributes: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>) -> Option<&'a str> {
    let text = attributes.next()?.as_str().ok()?;
    (attributes.next().is_none() && !text.is_empty()).then_some(text)
}

/// Whether `signature` over `message` is that of the certificate's key, in this COSE algorithm;
/// `None` if the certificate cannot be read or the algorithm is not known.
pub(crate) fn verifies(
    der: &[u8],
    algorithm: i64,
    message: &[u8],
    signature: &[u8],
) -> Option<bool> {
    let algorithm: &dyn SignatureVerificationAlgorithm = match algorithm {
        ES256 => webpki::aws_lc_rs::ECDSA_P256_SHA256,
        EDDSA => webpki::aws_lc_rs::ED25519,
        RS256 => webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
        _ => return None,
    };
    let der = CertificateDer::from(der);
    let certificate = EndEntityCert::try_from(&der).ok()?;
    Some(certificate.verify_signature(algorithm, message, signature).is_ok())
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
        .verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &rest, now, AnyUsage, None, None)
        .is_ok()
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
