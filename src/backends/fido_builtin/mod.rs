//! The built-in FIDO2 server: makes challenges and options objects, keeps credentials, and holds
//! answers against them with the verifier of the crate `webauthn/`.
//!
//! ```text
//!   relay ──▶ fido ────┐                 ┌─▶ options, challenge
//!                      ├─▶ server: open ─┤
//!   client ─▶ certify ─┘       │         └─▶ credentials ──▶ Store
//!                              │ close
//!                              ▼
//!                fido_relay_webauthn: registration | authentication
//! ```
//!
//! It knows nothing of the relay, of HTTP or of where records are kept.

mod begin_body;
mod certify;
mod challenge;
mod credentials;
mod fido;
mod options;
mod server;
#[cfg(test)]
mod tests;

pub use challenge::{
    for_transaction as transaction_challenge, over_digest as challenge_over_digest,
};
pub use credentials::{Credentials, record_key};
pub use server::{BuiltinFido, BuiltinFidoSettings};
