//! The built-in FIDO2 server: registration and authentication by the verification steps of
//! WebAuthn Level 3 (sections 7.1 and 7.2), with ES256, EdDSA (Ed25519) and RS256, and the
//! attestation formats `none` and `packed`.
//!
//! ```text
//!   relay ──▶ fido ────┐                 ┌─▶ options, challenge
//!                      ├─▶ server: open ─┤
//!   client ─▶ certify ─┘       │         └─▶ credentials ──▶ Store
//!                              │ close
//!                              ▼
//!        answer ─▶ registration | authentication
//!                     └─▶ client_data, authenticator_data ─▶ cose, cbor
//!                     └─▶ attestation ─▶ certificate
//! ```
//!
//! The verifier is this project's own: an approval's challenge has to cover the transaction, and
//! EdDSA cards have to work. [`verify_kept`] lends it to whoever holds nothing but what a receipt
//! kept. It knows nothing of the relay, of HTTP or of where records are kept.

mod answer;
mod attestation;
mod authentication;
mod authenticator_data;
mod begin_body;
mod cbor;
mod certificate;
mod certify;
mod challenge;
mod client_data;
mod cose;
mod credentials;
mod failure;
mod fido;
mod kept;
mod options;
mod registration;
mod server;
#[cfg(test)]
mod tests;

pub use attestation::{AttestationPolicy, AttestedBy, InvalidRoot};
pub use challenge::{
    for_transaction as transaction_challenge, over_digest as challenge_over_digest,
};
pub use failure::{CertificateFault, VerifyError};
pub use kept::{KeptAnswer, Made, Shown, verify_kept};
pub use server::{BuiltinFido, Settings};
