//! FIDO metadata (FIDO Metadata Service 3.0, section 3): a signed list of authenticator models with
//! their roots and their known weaknesses. Read from bytes; fetching the list is the caller's.

use std::collections::HashMap;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Deserialize;
use serde_json::Value;
use webpki::EndEntityCert;

use crate::certificate::{self, Certificate};
use crate::cose::{self, PS256, RS256};
use crate::model::parse_aaguid;

/// The root of the FIDO Alliance's list.
const ROOT: &[u8] = include_bytes!("../roots/globalsign-r3.der");
/// The name that the signing certificate must have: the root signs for many others.
const SIGNER: &str = "mds.fidoalliance.org";
/// Statuses under which a model may not register (section 3.1.4): revoked, or its attestation
/// keys, its users' keys or its user verification are broken.
const COMPROMISED: [&str; 5] = [
    "REVOKED",
    "ATTESTATION_KEY_COMPROMISE",
    "USER_KEY_REMOTE_COMPROMISE",
    "USER_KEY_PHYSICAL_COMPROMISE",
    "USER_VERIFICATION_BYPASS",
];

/// A verified list, by AAGUID. Models without one (U2F, UAF) are left out.
#[derive(Debug)]
pub struct Metadata {
    models: HashMap<[u8; 16], Entry>,
    next_update: UnixTime,
}

/// What the list says of a model.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Certificates that its attestation must lead to.
    pub(crate) roots: Vec<CertificateDer<'static>>,
    /// Whether it may not register.
    pub(crate) compromised: bool,
}

/// Why a list is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not a JSON Web Signature in compact form with certificates.
    #[error("not a signed metadata BLOB (three parts of base64url with x5c in the header)")]
    Syntax,
    /// Signed by an algorithm other than RS256, PS256 and ES256.
    #[error("signed by an unknown algorithm")]
    Algorithm,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// The signing certificate does not lead to the root, or names another signer.
    #[error("not signed by mds.fidoalliance.org under the trusted root")]
    Signer,
    /// The signed text is not a metadata payload.
    #[error("the signed payload is not FIDO metadata")]
    Payload,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    x5c: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    next_update: String,
    entries: Vec<JsonEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonEntry {
    aaguid: Option<String>,
    metadata_statement: Option<JsonStatement>,
    #[serde(default)]
    status_reports: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonStatement {
    description: String,
    #[serde(default)]
    attestation_root_certificates: Vec<String>,
}

impl Metadata {
    /// Reads the FIDO Alliance's list (a JSON Web Signature in compact form) and verifies its
    /// signature at this time. An outdated list is one nonetheless: [`is_outdated`](Self::is_outdated).
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn verify(blob: &[u8], now: UnixTime) -> Result<Self, MetadataError> {
        Self::verify_under(ROOT, blob, now)
    }

    /// The same under another root (X.509, DER).
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn verify_under(root: &[u8], blob: &[u8], now: UnixTime) -> Result<Self, MetadataError> {
        let text = std::str::from_utf8(blob).map_err(|_| MetadataError::Syntax)?.trim();
        let (signed, signature) = text.rsplit_once('.').ok_or(MetadataError::Syntax)?;
        let (header, payload) = signed.split_once('.').ok_or(MetadataError::Syntax)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| MetadataError::Syntax);
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| MetadataError::Syntax)?;
        let chain: Result<Vec<_>, _> = header.x5c.iter().map(|der| STANDARD.decode(der)).collect();
        let chain = chain.map_err(|_| MetadataError::Syntax)?;
        let first = chain.first().ok_or(MetadataError::Syntax)?;
        let certificate = Certificate::parse(first).map_err(|_| MetadataError::Syntax)?;
        let algorithm = verification(&header.alg).ok_or(MetadataError::Algorithm)?;
        let key = ParsedPublicKey::new(algorithm, certificate.spki());
        let signature = decode(signature)?;
        if !key.is_ok_and(|key| key.verify_sig(signed.as_bytes(), &signature).is_ok()) {
            return Err(MetadataError::Signature);
        }
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        let root = CertificateDer::from(root.to_vec());
        if !is_signer(first) || !certificate::is_trusted(&chain, &[root], now) {
            return Err(MetadataError::Signer);
        }
        Self::from_payload(&decode(payload)?).ok_or(MetadataError::Payload)
    }

    /// Parses a payload whose signature was verified; `None` if it is invalid.
    pub(crate) fn from_payload(json: &[u8]) -> Option<Self> {
        let payload: Payload = serde_json::from_slice(json).ok()?;
        let mut models = HashMap::new();
        for entry in payload.entries {
            let (Some(aaguid), Some(statement)) = (entry.aaguid, entry.metadata_statement) else {
                continue;
            };
            let status = |report: &Value| {
                report["status"].as_str().is_some_and(|status| COMPROMISED.contains(&status))
            };
            let roots = statement.attestation_root_certificates.iter().filter_map(|der| {
                let der: String = der.split_ascii_whitespace().collect();
                STANDARD.decode(der).ok().map(CertificateDer::from)
            });
            let model = Entry {
                name: statement.description,
                roots: roots.collect(),
                compromised: entry.status_reports.iter().any(status),
            };
            models.insert(parse_aaguid(&aaguid)?, model);
        }
        Some(Self { models, next_update: midnight(&payload.next_update)? })
    }

    /// Whether a newer list should have been fetched by now.
    #[must_use]
    pub fn is_outdated(&self, now: UnixTime) -> bool {
        self.next_update < now
    }

    /// How many models the list has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.models.len()
    }

    pub(crate) fn model(&self, aaguid: &[u8; 16]) -> Option<&Entry> {
        self.models.get(aaguid)
    }
}

/// How a JSON Web Signature of this algorithm (RFC 7518) is verified.
fn verification(algorithm: &str) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        "ES256" => Some(&ECDSA_P256_SHA256_FIXED),
        "RS256" => cose::verification(RS256),
        "PS256" => cose::verification(PS256),
        _ => None,
    }
}

fn is_signer(der: &[u8]) -> bool {
    let der = CertificateDer::from(der);
    let Ok(name) = ServerName::try_from(SIGNER) else { return false };
    EndEntityCert::try_from(&der)
        .is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(&name).is_ok())
}

/// The first moment of a day in ISO 8601 form, `2026-11-01`.
fn midnight(date: &str) -> Option<UnixTime> {
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let since_1970 = days.checked_sub(719_468)?;
    let since_1970 = core::time::Duration::from_secs(since_1970 * 86_400);
    Some(UnixTime::since_unix_epoch(since_1970))
}
