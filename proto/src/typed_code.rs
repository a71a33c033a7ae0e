//! The pairing code that a person types when they cannot scan: 10 characters of Crockford's base32,
//! 50 bits. The first four find the pairing, the other six are its secret.
//!
//! It is forgiving where eyes and fingers err: case, blanks and hyphens do not count, and `I`, `L`
//! and `O` are the digits that they look like. `U` is no character of it, so that no code swears.

use std::fmt;
use std::str::FromStr;

use crate::ids::InvalidId;

/// Characters of a code.
pub const LENGTH: usize = 10;
/// Characters of a code that find the pairing, from the first.
pub const LOCATOR: usize = 4;
/// Wrong codes after which the pairing that they found is void.
pub const TRIES: u8 = 5;

/// Crockford's base32, in the order of its values.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A typed code in its plain form. It prints grouped (`7K3D9-QXM2V`), and not in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct TypedCode([u8; LENGTH]);

impl TypedCode {
    /// The code made of these random bytes; five bits of each count.
    #[must_use]
    pub fn from_random(bytes: [u8; LENGTH]) -> Self {
        Self(bytes.map(|byte| ALPHABET[usize::from(byte % 32)]))
    }

    /// The plain form: ten capitals and digits. Its SHA-256 is what a proof signs.
    ///
    /// # Panics
    /// Never: the alphabet is ASCII.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_else(|_| unreachable!("the alphabet is ASCII"))
    }

    /// The characters that find the pairing. They are no secret.
    #[must_use]
    pub fn locator(&self) -> &str {
        &self.as_str()[..LOCATOR]
    }
}

impl fmt::Display for TypedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = self.as_str().split_at(LENGTH / 2);
        write!(f, "{first}-{second}")
    }
}

impl fmt::Debug for TypedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypedCode(hidden)")
    }
}

impl FromStr for TypedCode {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut code = [0; LENGTH];
        let mut length = 0;
        for typed in text.bytes().filter(|byte| !matches!(byte, b'-' | b' ')) {
            let plain = match typed.to_ascii_uppercase() {
                b'I' | b'L' => b'1',
                b'O' => b'0',
                other => other,
            };
            let place = code.get_mut(length).filter(|_| ALPHABET.contains(&plain));
            *place.ok_or(InvalidId("typed code"))? = plain;
            length += 1;
        }
        if length == LENGTH { Ok(Self(code)) } else { Err(InvalidId("typed code")) }
    }
}
