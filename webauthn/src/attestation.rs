//! Attestation: the card's statement about itself at registration. Parses the attestation object
//! (WebAuthn section 6.5.4), verifies the statement by its format, and applies the policy.

use std::sync::Arc;

use ciborium::Value;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};

use crate::authenticator_data::{AttestedCredential, AuthenticatorData};
use crate::cbor::{self, Form};
use crate::certificate;
use crate::failure::VerifyError;
use crate::metadata::Metadata;
use crate::model::{self, Model};
use crate::statement::{self, Subject, Verified};

/// Which attestation a relying party accepts (7.1 steps 23 and 24). The default accepts every type
/// and knows no roots.
#[derive(Clone, Debug)]
pub struct AttestationPolicy {
    /// No attestation. Without roots and metadata a statement without proof is accepted too, as
    /// [ignored](Attested::Ignored): a statement of an unknown format or algorithm, or one whose
    /// certificate breaks its profile.
    pub none: bool,
    /// Self attestation: `packed` without certificates, and the vendor sample's bare signature.
    pub self_signed: bool,
    /// Statements with certificates. Without roots and metadata such a statement is taken as no
    /// more than a self attestation, as the note of step 24 allows; with them, its certificates
    /// must lead to a root.
    pub certified: bool,
    /// The only models that may register, attested by a chain to a root; empty: any model.
    pub aaguids: Vec<[u8; 16]>,
    /// FIDO metadata: further roots by model, and which models are compromised.
    pub metadata: Option<Arc<Metadata>>,
    roots: Vec<CertificateDer<'static>>,
}

impl Default for AttestationPolicy {
    fn default() -> Self {
        Self {
            none: true,
            self_signed: true,
            certified: true,
            aaguids: Vec::new(),
            metadata: None,
            roots: Vec::new(),
        }
    }
}

/// A configured attestation root that is not a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attestation root number {0} is not an X.509 certificate")]
pub struct InvalidRoot(pub usize);

/// How far a credential's attestation was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttestationOutcome {
    /// A chain of certificates led to a root.
    Verified,
    /// There was a statement, which was passed over.
    Ignored,
    /// Nothing was proven: no statement, a self attestation, or certificates where there is no
    /// root to hold them against.
    None,
}

/// A statement that the policy accepts.
#[derive(Debug)]
pub(crate) struct AssessedAttestation {
    pub(crate) attested: AttestationOutcome,
    /// Why the statement was ignored.
    pub(crate) ignored: Option<VerifyError>,
    pub(crate) model: Option<Model>,
}

impl AttestationPolicy {
    /// The same policy with additional roots (X.509, DER).
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

    /// The same policy with the roots of Arculus cards, which have equal names and different keys.
    #[must_use]
    pub fn with_arculus_roots(mut self) -> Self {
        self.roots.extend(model::ARCULUS_ROOTS.map(CertificateDer::from));
        self
    }

    /// 7.1 steps 23 and 24.
    fn assess(
        &self,
        statement: Result<Verified<'_>, VerifyError>,
        aaguid: &[u8; 16],
        now: UnixTime,
    ) -> Result<AssessedAttestation, VerifyError> {
        let metadata = self.metadata.as_deref();
        let entry = metadata.and_then(|metadata| metadata.model(aaguid));
        if entry.is_some_and(|entry| entry.compromised) {
            return Err(VerifyError::ModelCompromised);
        }
        let knows_roots = !self.roots.is_empty() || metadata.is_some();
        let accept = |accepted: bool| {
            if accepted { Ok(()) } else { Err(VerifyError::AttestationType) }
        };
        let (mut attested, mut ignored, mut model_attested) =
            (AttestationOutcome::None, None, false);
        match statement {
            Ok(Verified::None) => accept(self.none)?,
            Ok(Verified::SelfSigned) => accept(self.self_signed)?,
            Ok(Verified::Certified { chain, names_model }) => {
                accept(self.certified)?;
                if knows_roots {
                    let mut roots = self.roots.clone();
                    roots.extend(entry.into_iter().flat_map(|entry| entry.roots.iter().cloned()));
                    if !certificate::is_trusted(&chain, &roots, now) {
                        return Err(VerifyError::TrustPath);
                    }
                    attested = AttestationOutcome::Verified;
                    model_attested = names_model;
                }
            }
            Err(why) if self.none && !knows_roots && why.is_no_attestation() => {
                attested = AttestationOutcome::Ignored;
                ignored = Some(why);
            }
            Err(why) => return Err(why),
        }
        let allowed = model_attested && self.aaguids.contains(aaguid);
        if !allowed && !self.aaguids.is_empty() {
            return Err(VerifyError::ModelNotAllowed);
        }
        let name = entry.map(|entry| entry.name.as_str()).or_else(|| model::name(aaguid));
        let model = name.map(|name| Model { name: name.to_owned(), claimed: !model_attested });
        Ok(AssessedAttestation { attested, ignored, model })
    }
}

/// The signer of an attestation statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttestationSigner {
    /// None: there was no statement, or one that proves nothing.
    None,
    Credential,
    /// A key under an attached certificate, whose chain was not verified.
    Certificate,
}

/// An attestation object, or the vendor sample's form brought into the same shape.
pub(crate) struct Attestation {
    /// The authenticator data as they were signed.
    pub(crate) authenticator_data: Vec<u8>,
    statement: Statement,
}

enum Statement {
    Format { name: String, statement: Value },
    Bare { signature: Vec<u8> },
}

impl Attestation {
    /// 7.1 step 13: takes an attestation object apart.
    pub(crate) fn parse(object: &[u8]) -> Result<Self, VerifyError> {
        let malformed = VerifyError::AttestationObject;
        let item = cbor::only_item(object, Form::Shortest);
        let map = item.and_then(|item| item.into_map().ok()).ok_or(malformed)?;
        let member = |name| cbor::by_name(&map, name).ok_or(malformed);
        Ok(Self {
            authenticator_data: member("authData")?.as_bytes().ok_or(malformed)?.clone(),
            statement: Statement::Format {
                name: member("fmt")?.as_text().ok_or(malformed)?.to_owned(),
                statement: member("attStmt")?.clone(),
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
        data: &AuthenticatorData,
        credential: &AttestedCredential,
        client_data_hash: &[u8],
        policy: &AttestationPolicy,
        now: UnixTime,
    ) -> Result<AssessedAttestation, VerifyError> {
        let statement = self.verified(data, credential, client_data_hash);
        policy.assess(statement, &credential.aaguid, now)
    }

    /// 7.1 steps 21 and 22 alone: the signer, without applying a policy.
    pub(crate) fn attested_by(
        &self,
        data: &AuthenticatorData,
        credential: &AttestedCredential,
        client_data_hash: &[u8],
    ) -> Result<AttestationSigner, VerifyError> {
        match self.verified(data, credential, client_data_hash) {
            Ok(Verified::None) => Ok(AttestationSigner::None),
            Ok(Verified::SelfSigned) => Ok(AttestationSigner::Credential),
            Ok(Verified::Certified { .. }) => Ok(AttestationSigner::Certificate),
            Err(why) if why.is_no_attestation() => Ok(AttestationSigner::None),
            Err(why) => Err(why),
        }
    }

    fn verified(
        &self,
        data: &AuthenticatorData,
        credential: &AttestedCredential,
        client_data_hash: &[u8],
    ) -> Result<Verified<'_>, VerifyError> {
        let message = [&self.authenticator_data, client_data_hash].concat();
        let rp_id_hash = &data.rp_id_hash;
        let subject = Subject { credential, rp_id_hash, client_data_hash, message: &message };
        match &self.statement {
            Statement::Bare { signature } => statement::self_signed(&subject, signature),
            Statement::Format { name, statement } => statement::verify(name, statement, &subject),
        }
    }
}
