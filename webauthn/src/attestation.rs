//! Attestation: what the card says of itself at registration. Reads the attestation object
//! (WebAuthn section 6.5.4), checks the statement by its format (8.2 `packed`, 8.7 `none`, and
//! the vendor sample's bare signature), and asks the policy whether that is enough.

use ciborium::Value;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::authenticator_data::AttestedCredential;
use crate::cbor;
use crate::certificate;
use crate::failure::{CertificateFault, VerifyError};

/// Certificates of one statement; a chain of real ones has two or three.
const CHAIN: usize = 8;

/// Which attestation types a relying party accepts (7.1 step 24). The default accepts all three
/// and knows no roots.
#[derive(Clone, Debug)]
pub struct AttestationPolicy {
    /// No attestation.
    pub none: bool,
    /// Self attestation: `packed` without certificates, and the vendor sample's bare signature.
    pub self_signed: bool,
    /// `packed` with certificates. Without roots such a statement is taken as no more than a self
    /// attestation, as the note of step 24 allows; with roots, its certificates must lead to one.
    pub certified: bool,
    roots: Vec<CertificateDer<'static>>,
}

impl Default for AttestationPolicy {
    fn default() -> Self {
        Self { none: true, self_signed: true, certified: true, roots: Vec::new() }
    }
}

/// A configured attestation root that is not a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attestation root number {0} is not an X.509 certificate")]
pub struct InvalidRoot(pub usize);

impl AttestationPolicy {
    /// The same policy with these roots (X.509, DER).
    ///
    /// # Errors
    /// [`InvalidRoot`] with the position, from 1, of the first that is not a certificate.
    pub fn with_roots(
        mut self,
        roots: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<Self, InvalidRoot> {
        for (at, der) in roots.into_iter().enumerate() {
            let root = CertificateDer::from(der);
            if !certificate::is_root(&root) {
                return Err(InvalidRoot(at + 1));
            }
            self.roots.push(root);
        }
        Ok(self)
    }

    /// 7.1 steps 23 and 24.
    fn assess(&self, verified: &Verified<'_>, now: UnixTime) -> Result<(), VerifyError> {
        let accepted = match verified {
            Verified::None => self.none,
            Verified::SelfSigned => self.self_signed,
            Verified::Certified(chain) => {
                if self.certified
                    && !self.roots.is_empty()
                    && !certificate::is_trusted(chain, &self.roots, now)
                {
                    return Err(VerifyError::TrustPath);
                }
                self.certified
            }
        };
        if accepted { Ok(()) } else { Err(VerifyError::AttestationType) }
    }
}

/// Who signed for a credential at its registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttestedBy {
    /// Nobody.
    Nobody,
    /// The credential itself.
    Itself,
    /// A key under a certificate that came along; where that leads to was not asked.
    Certificate,
}

/// What a statement was found to be.
enum Verified<'a> {
    None,
    SelfSigned,
    Certified(Vec<&'a [u8]>),
}

/// An attestation object, or the vendor sample's form brought into the same shape.
pub(crate) struct Attestation {
    /// The authenticator data as they were signed.
    pub(crate) authenticator_data: Vec<u8>,
    statement: Statement,
}

enum Statement {
    Format { name: String, members: Vec<(Value, Value)> },
    Bare { signature: Vec<u8> },
}

impl Attestation {
    /// 7.1 step 13: takes an attestation object apart.
    pub(crate) fn parse(object: &[u8]) -> Result<Self, VerifyError> {
        let malformed = VerifyError::AttestationObject;
        let map = cbor::only_item(object).and_then(|item| item.into_map().ok()).ok_or(malformed)?;
        let member = |name| cbor::by_name(&map, name).ok_or(malformed);
        Ok(Self {
            authenticator_data: member("authData")?.as_bytes().ok_or(malformed)?.clone(),
            statement: Statement::Format {
                name: member("fmt")?.as_text().ok_or(malformed)?.to_owned(),
                members: member("attStmt")?.as_map().ok_or(malformed)?.clone(),
            },
        })
    }

    /// The vendor sample's form: the signature is taken as a self attestation.
    pub(crate) fn bare(authenticator_data: Vec<u8>, signature: Vec<u8>) -> Self {
        Self { authenticator_data, statement: Statement::Bare { signature } }
    }

    /// 7.1 steps 21 to 24.
    pub(crate) fn verify(
        &self,
        credential: &AttestedCredential,
        client_data_hash: &[u8],
        policy: &AttestationPolicy,
        now: UnixTime,
    ) -> Result<(), VerifyError> {
        policy.assess(&self.verified(credential, client_data_hash)?, now)
    }

    /// 7.1 steps 21 and 22 alone: who signed, without asking whether that is enough.
    pub(crate) fn attested_by(
        &self,
        credential: &AttestedCredential,
        client_data_hash: &[u8],
    ) -> Result<AttestedBy, VerifyError> {
        Ok(match self.verified(credential, client_data_hash)? {
            Verified::None => AttestedBy::Nobody,
            Verified::SelfSigned => AttestedBy::Itself,
            Verified::Certified(_) => AttestedBy::Certificate,
        })
    }

    fn verified(
        &self,
        credential: &AttestedCredential,
        client_data_hash: &[u8],
    ) -> Result<Verified<'_>, VerifyError> {
        let message = [&self.authenticator_data, client_data_hash].concat();
        match &self.statement {
            Statement::Bare { signature } => self_signed(credential, &message, signature),
            Statement::Format { name, members } => match name.as_str() {
                "none" if members.is_empty() => Ok(Verified::None),
                "none" => Err(VerifyError::Statement),
                "packed" => packed(members, credential, &message),
                _ => Err(VerifyError::Format),
            },
        }
    }
}

fn self_signed(
    credential: &AttestedCredential,
    message: &[u8],
    signature: &[u8],
) -> Result<Verified<'static>, VerifyError> {
    if credential.key.verifies(message, signature) {
        Ok(Verified::SelfSigned)
    } else {
        Err(VerifyError::StatementSignature)
    }
}

/// Section 8.2, verification procedure.
fn packed<'a>(
    members: &'a [(Value, Value)],
    credential: &AttestedCredential,
    message: &[u8],
) -> Result<Verified<'a>, VerifyError> {
    let malformed = VerifyError::Statement;
    let algorithm = cbor::by_name(members, "alg").and_then(cbor::integer).ok_or(malformed)?;
    let signature = cbor::by_name(members, "sig").and_then(Value::as_bytes).ok_or(malformed)?;
    let Some(chain) = cbor::by_name(members, "x5c") else {
        if members.len() != 2 {
            return Err(malformed);
        }
        if algorithm != credential.key.algorithm() {
            return Err(VerifyError::StatementAlgorithm);
        }
        return self_signed(credential, message, signature);
    };
    let chain = chain.as_array().filter(|chain| (1..=CHAIN).contains(&chain.len()));
    let chain: Option<Vec<&[u8]>> = chain
        .ok_or(malformed)?
        .iter()
        .map(|certificate| certificate.as_bytes().map(Vec::as_slice))
        .collect();
    let chain = chain.ok_or(malformed)?;
    if members.len() != 3 {
        return Err(malformed);
    }
    certificate::check_requirements(chain[0], &credential.aaguid)
        .map_err(VerifyError::Certificate)?;
    match certificate::verifies(chain[0], algorithm, message, signature) {
        Some(true) => Ok(Verified::Certified(chain)),
        Some(false) => Err(VerifyError::StatementSignature),
        None => Err(if [-7, -8, -257].contains(&algorithm) {
            VerifyError::Certificate(CertificateFault::Syntax)
        } else {
            VerifyError::StatementAlgorithm
        }),
    }
}
