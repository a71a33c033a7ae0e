//! The built-in FIDO2 server: makes challenges and options objects, stores credentials, and verifies
//! answers with the crate `webauthn/`.
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
//! It knows neither the relay, HTTP nor a particular store.

mod begin_body;
mod certify;
mod challenge;
mod credentials;
mod fido;
mod options;
mod server;
mod sessions;
#[cfg(test)]
mod tests;

pub use challenge::{
    for_transaction as transaction_challenge, over_digest as challenge_over_digest,
};
pub use credentials::{Credentials, record_key};
pub use server::{BuiltinFido, BuiltinFidoSettings};
