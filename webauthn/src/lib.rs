//! A WebAuthn verifier: holds the answers of authenticators against what a relying party asked for,
//! by the steps of WebAuthn Level 3, sections 7.1 (registration) and 7.2 (authentication).
//!
//! ```text
//!   answer ─▶ registration | authentication
//!                └─▶ client_data, authenticator_data ─▶ cose, cbor
//!                └─▶ attestation ─▶ statement ─▶ certificate
//!                                └─▶ metadata, model
//! ```
//!
//! Pure: no store, no clock, no HTTP, no logging. What a step needs of them (the credential record,
//! the time) is an argument, and what follows (storing the counter, step 26 of 7.1) is the caller's.
//! [`verify_kept`] reads an answer again from what was kept of it, with nothing else at hand.

mod answer;
mod attestation;
mod authenticator_data;
mod cbor;
mod certificate;
mod client_data;
mod cose;
mod failure;
mod kept;
#[cfg(any(test, feature = "signing"))]
mod key_pair;
mod metadata;
mod model;
mod statement;

pub mod authentication;
pub mod registration;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Bytes, bytes};
pub use attestation::{AttestationPolicy, Attested, AttestedBy, InvalidRoot};
pub use client_data::Expected;
pub use cose::{EDDSA, ES256, ES384, ML_DSA_44, ML_DSA_65, PS256, RS256};
pub use failure::{CertificateFault, VerifyError};
pub use kept::{KeptAnswer, Made, Shown, verify_kept};
#[cfg(any(test, feature = "signing"))]
pub use key_pair::KeyPair;
pub use metadata::{Metadata, MetadataError};
pub use model::{Model, name as model_name, parse_aaguid};
pub use rustls_pki_types::UnixTime;
