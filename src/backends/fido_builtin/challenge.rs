//! Challenges of 32 bytes: random, or derived from a transaction, so that the card's signature covers
//! the text that the person approved.

use fido_relay_proto::http::Transaction;

use crate::encoding::sha256;

/// Domain separation of these challenges.
const TRANSACTION_DOMAIN: &[u8] = b"fido-relay/tx/v1";

/// The challenge of an approval: SHA-256 over the domain, a random nonce, and the SHA-256 of the
/// transaction in canonical JSON (RFC 8785). With the nonce it can be proven later which text a
/// signature covers. `None` if the transaction has no canonical form, which no valid one lacks.
#[must_use]
pub fn for_transaction(nonce: &[u8; 32], transaction: &Transaction) -> Option<[u8; 32]> {
    let canonical = serde_json_canonicalizer::to_vec(transaction).ok()?;
    Some(over_digest(nonce, &sha256(canonical)))
}

/// [`for_transaction`] by the SHA-256 of the transaction's canonical JSON.
#[must_use]
pub fn over_digest(nonce: &[u8; 32], digest: &[u8; 32]) -> [u8; 32] {
    sha256([TRANSACTION_DOMAIN, nonce, digest].concat())
}
