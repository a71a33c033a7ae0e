//! Credentials, proofs, keys and encryption. It knows the wire, and neither the store nor HTTP or
//! sockets: what is stored of a credential is read and written in [`crate::app`].

pub mod access_token;
pub mod browsers;
pub mod client_assertion;
pub mod device_proof;
pub mod encryption;
pub mod event_ticket;
pub mod jws;
pub mod keys;
pub mod limits;
mod mac_envelope;
pub mod origin;
pub mod public_key;
pub mod pull_proof;
pub mod receipt;
pub mod record;
pub mod result_token;
pub(crate) mod signing_key;
pub mod ticket;

pub use fido_relay_kit::random;
