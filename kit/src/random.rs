//! Randomness from the one cryptographic generator, in the shapes that the relay needs.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::UnixMillis;

/// `N` random bytes.
///
/// # Panics
/// If the operating system cannot give randomness: there is no safe way to go on.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if rand::fill(&mut bytes).is_err() {
        panic!("the operating system gave no randomness");
    }
    bytes
}

/// A 16-byte id that begins with the time (48 bits of milliseconds, as in UUID version 7, RFC 9562
/// section 5.7) and ends with 80 random bits: records of one time lie together in a store.
#[must_use]
pub fn time_ordered(now: UnixMillis) -> [u8; 16] {
    let mut id = bytes::<16>();
    if let (Some(id), [_, _, time @ ..]) = (id.first_chunk_mut::<6>(), now.0.to_be_bytes()) {
        *id = time;
    }
    id
}

/// 32 random bytes as 43 base64url characters: nonces, tokens, keys.
#[must_use]
pub fn token() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<32>())
}

/// `digits` uniformly random decimal digits (at most 18).
#[must_use]
pub fn code(digits: u8) -> String {
    let range = 10_u64.pow(u32::from(digits));
    // Values past the largest multiple of the range would favour small codes: draw again.
    let fair = u64::MAX - u64::MAX % range;
    loop {
        let drawn = u64::from_le_bytes(bytes());
        if drawn < fair {
            return format!("{:0width$}", drawn % range, width = usize::from(digits));
        }
    }
}

/// A uniformly random number below `bound`; 0 for a bound of 0. For jitter, where the bias of a
/// remainder over 64 bits does not matter.
#[must_use]
pub fn below(bound: u64) -> u64 {
    if bound == 0 { 0 } else { u64::from_le_bytes(bytes()) % bound }
}
