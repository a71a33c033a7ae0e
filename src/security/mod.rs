//! Credentials and proofs: one noun, one room.

pub mod clients;
pub mod random;
