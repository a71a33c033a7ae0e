//! A WebAuthn verifier: verifies the answers of authenticators to a relying party's requests by the
//! steps of WebAuthn Level 3, sections 7.1 (registration) and 7.2 (authentication).
//!
//! ```text
//!   answer ─▶ registration | authentication
//!                └─▶ client_data, authenticator_data ─▶ cose, cbor
//!                └─▶ attestation ─▶ statement ─▶ certificate
//!                                └─▶ metadata, model
//! ```
//!
//! Pure: no store, no clock, no HTTP, no logging. Data that a step needs (the credential record, the
//! time) are arguments, and follow-up actions (storing the counter, step 26 of 7.1) are the caller's.
//! [`verify_stored`] verifies a stored answer again.

mod answer;
mod attestation;
mod authenticator_data;
mod cbor;
mod certificate;
mod client_data;
mod cose;
mod failure;
#[cfg(any(test, feature = "signing"))]
mod key_pair;
mod metadata;
mod model;
mod statement;
mod stored;

pub mod authentication;
pub mod registration;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Bytes, bytes};
pub use attestation::{AttestationOutcome, AttestationPolicy, AttestationSigner, InvalidRoot};
pub use client_data::Expected;
pub use cose::{EDDSA, ES256, ES384, ML_DSA_44, ML_DSA_65, PS256, RS256};
pub use failure::{CertificateFault, VerifyError};
#[cfg(any(test, feature = "signing"))]
pub use key_pair::KeyPair;
pub use metadata::{Metadata, MetadataError};
pub use model::{Model, name as model_name, parse_aaguid};
pub use rustls_pki_types::UnixTime;
pub use stored::{AnswerFacts, CreatedCredential, StoredAnswer, verify_stored};
