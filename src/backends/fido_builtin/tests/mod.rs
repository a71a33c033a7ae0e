//! The built-in server through its two interfaces, over a store in memory.

mod attestation;
mod bench;
mod cards;
mod certify;
mod faulty_store;
mod fido;
mod handles;

const RP_ID: &str = "example.org";
const ORIGIN: &str = "https://example.org";
