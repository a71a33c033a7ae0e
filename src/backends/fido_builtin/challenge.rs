//! Challenges: 32 bytes, random, or covering a transaction, so that the card's signature covers
//! the words that the person approved.

use aws_lc_rs::digest::{SHA256, digest};
use fido_relay_proto::http::Transaction;

/// Separates these challenges from any other use of the same hash.
const TRANSACTION_DOMAIN: &[u8] = b"fido-relay/tx/v1";

/// The challenge of an approval: SHA-256 over the domain, a random nonce, and the SHA-256 of the
/// transaction in canonical JSON (RFC 8785). Whoever keeps the nonce can show later which words a
/// signature covers. `None` if the transaction has no canonical form, which no valid one lacks.
#[must_use]
pub fn for_transaction(nonce: &[u8; 32], transaction: &Transaction) -> Option<[u8; 32]> {
    let canonical = serde_json_canonicalizer::to_vec(transaction).ok()?;
    over_digest(nonce, digest(&SHA256, &canonical).as_ref().try_into().ok()?)
}

/// [`for_transaction`] of a transaction whose canonical JSON has this SHA-256. `None` never.
#[must_use]
pub fn over_digest(nonce: &[u8; 32], words: &[u8; 32]) -> Option<[u8; 32]> {
    let covered = [TRANSACTION_DOMAIN, nonce, words].concat();
    digest(&SHA256, &covered).as_ref().try_into().ok()
}
