//! Credentials and proofs: one noun, one room.

pub mod random;
