//! Credentials and proofs: one noun, one room. It knows the store and the wire, and nothing of
//! HTTP, sockets or ceremonies under way.

pub mod access_token;
pub mod browsers;
pub mod client_assertion;
pub mod clients;
pub mod device_proof;
pub mod encryption;
pub mod event_ticket;
pub mod jws;
pub mod keys;
pub mod limits;
pub mod origin;
pub mod pull_proof;
pub mod receipt;
pub mod record;
pub mod refusals;
pub mod result_token;
pub(crate) mod signing_key;
pub mod ticket;

pub use fido_relay_kit::random;
