//! Texts that a person will read: bounded, and free of characters that could make them read as
//! something else.
//!
//! Control, bidirectional and zero-width characters are refused rather than removed: a text that
//! the card holder approves must be the text that the initiator sent.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is refused. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Empty, or nothing but white space.
    #[error("must not be empty")]
    Empty,
    /// More characters than allowed.
    #[error("must have at most {0} characters")]
    TooLong(usize),
    /// A control, bidirectional or zero-width character.
    #[error("must not contain control, bidirectional or zero-width characters")]
    Forbidden,
}

/// Characters that could hide, reorder or forge what a person reads: control characters, line and
/// paragraph separators, and everything that Unicode calls `Default_Ignorable_Code_Point`
/// (bidirectional controls, zero-width characters, fillers, variation selectors, tags).
pub(crate) const FORBIDDEN: [(char, char); 19] = [
    ('\0', '\u{1F}'),
    ('\u{7F}', '\u{9F}'),
    ('\u{AD}', '\u{AD}'),
    ('\u{34F}', '\u{34F}'),
    ('\u{61C}', '\u{61C}'),
    ('\u{115F}', '\u{1160}'),
    ('\u{17B4}', '\u{17B5}'),
    ('\u{180B}', '\u{180F}'),
    ('\u{200B}', '\u{200F}'),
    ('\u{2028}', '\u{202E}'),
    ('\u{2060}', '\u{206F}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{FE00}', '\u{FE0F}'),
    ('\u{FEFF}', '\u{FEFF}'),
    ('\u{FFA0}', '\u{FFA0}'),
    ('\u{FFF0}', '\u{FFFB}'),
    ('\u{1BCA0}', '\u{1BCA3}'),
    ('\u{1D173}', '\u{1D17A}'),
    ('\u{E0000}', '\u{E0FFF}'),
];

fn is_forbidden(c: char) -> bool {
    FORBIDDEN.iter().any(|&(first, last)| (first..=last).contains(&c))
}

/// A text of 1 to `MAX` characters (Unicode scalar values) that shows what it says.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PlainText<const MAX: usize>(Box<str>);

impl<const MAX: usize> PlainText<MAX> {
    /// Takes a text that keeps the rules.
    ///
    /// # Errors
    /// [`InvalidText`], naming the rule that it breaks.
    pub fn new(text: &str) -> Result<Self, InvalidText> {
        if text.trim().is_empty() {
            Err(InvalidText::Empty)
        } else if text.chars().count() > MAX {
            Err(InvalidText::TooLong(MAX))
        } else if text.chars().any(is_forbidden) {
            Err(InvalidText::Forbidden)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for PlainText<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for PlainText<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<const MAX: usize> TryFrom<String> for PlainText<MAX> {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        Self::new(&text)
    }
}

impl<const MAX: usize> From<PlainText<MAX>> for String {
    fn from(text: PlainText<MAX>) -> Self {
        text.0.into()
    }
}

/// Who signs in, as the FIDO2 server knows them. 255 characters is that server's own limit.
pub type Username = PlainText<255>;
/// How a person is greeted; the same limit as [`Username`].
pub type DisplayName = PlainText<255>;
/// The initiator's sentence, shown on both sides.
pub type Message = PlainText<140>;
/// The initiator's own value, given back in the result token.
pub type ClientNonce = PlainText<128>;
