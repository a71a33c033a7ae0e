//! Texts that a person will read: bounded, and free of characters that could make them read as
//! something else.
//!
//! Characters that hide or reorder are refused rather than removed: a text that the card holder
//! approves must be the text that the initiator sent. Three of them are needed by scripts and
//! emoji, and pass where these need them (RFC 5892 appendices A.1 and A.2, UTS #51).

use std::cell::Cell;
use std::fmt;

use serde::{Deserialize, Serialize};

use self::rules::Before;

mod rules;

/// Combining marks in a row that scripts get by with; more of them cover the lines around.
pub const MARKS: usize = 3;

/// Why a text is refused. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Empty, or nothing but white space.
    #[error("must not be empty")]
    Empty,
    /// More characters than allowed.
    #[error("must have at most {0} characters")]
    TooLong(usize),
    /// A character that shows nothing, reorders others, or means nothing outside of one program.
    #[error("must not contain control, bidirectional, invisible or private-use characters")]
    Forbidden,
    /// U+200C, U+200D or U+FE0F where neither a script nor an emoji needs it.
    #[error("must have joiners and emoji selectors only where a script or an emoji needs them")]
    Joiner,
    /// White space after white space.
    #[error("must not have more than one blank in a row")]
    Blanks,
    /// More than [`MARKS`], or one that the text begins with.
    #[error("must not begin with a combining mark or have more than {MARKS} in a row")]
    Marks,
    /// White space at the beginning or end of a text that is compared.
    #[error("must not begin or end with a blank")]
    Edges,
    /// A text that is compared, and has another spelling that looks the same.
    #[error("must be in Unicode normalization form C")]
    NotNfc,
}

thread_local! {
    static STORED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `read`, which decodes a record of the relay's own. Its texts were checked when they came,
/// perhaps by an earlier version with fewer rules, and are taken as they are: a stored device must
/// not be lost to a stricter version.
pub fn read_stored<T>(read: impl FnOnce() -> T) -> T {
    struct Reset(bool);

    impl Drop for Reset {
        fn drop(&mut self) {
            STORED.set(self.0);
        }
    }

    let _reset = Reset(STORED.replace(true));
    read()
}

fn check(text: &str) -> Result<(), InvalidText> {
    // A mark at the beginning would sit on whatever a display has before the text.
    let (mut before, mut marks) = (Before::default(), MARKS);
    for (at, c) in text.char_indices() {
        if rules::is_forbidden(c) {
            return Err(InvalidText::Forbidden);
        }
        if !before.lets_pass(c, text[at..].chars().skip(1)) {
            return Err(InvalidText::Joiner);
        }
        if c.is_whitespace() && before.is_blank {
            return Err(InvalidText::Blanks);
        }
        marks = if rules::is_mark(c) { marks + 1 } else { 0 };
        if marks > MARKS {
            return Err(InvalidText::Marks);
        }
        before = before.and(c);
    }
    Ok(())
}

/// A text of 1 to `MAX` characters (Unicode scalar values) that shows what it says. An `EXACT` one
/// is compared with others, code point by code point: it is in normalization form C (UAX #15) and
/// has no blank at either end, so that what looks the same is the same.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PlainText<const MAX: usize, const EXACT: bool = false>(Box<str>);

impl<const MAX: usize, const EXACT: bool> PlainText<MAX, EXACT> {
    /// Takes a text that keeps the rules.
    ///
    /// # Errors
    /// [`InvalidText`], naming the rule that it breaks.
    pub fn new(text: &str) -> Result<Self, InvalidText> {
        if text.trim().is_empty() {
            Err(InvalidText::Empty)
        } else if text.chars().count() > MAX {
            Err(InvalidText::TooLong(MAX))
        } else if EXACT && text.trim() != text {
            Err(InvalidText::Edges)
        } else if EXACT && !rules::is_nfc(text) {
            Err(InvalidText::NotNfc)
        } else {
            check(text).map(|()| Self(text.into()))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize, const EXACT: bool> fmt::Display for PlainText<MAX, EXACT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize, const EXACT: bool> fmt::Debug for PlainText<MAX, EXACT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<const MAX: usize, const EXACT: bool> TryFrom<String> for PlainText<MAX, EXACT> {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        if STORED.get() { Ok(Self(text.into())) } else { Self::new(&text) }
    }
}

impl<const MAX: usize, const EXACT: bool> From<PlainText<MAX, EXACT>> for String {
    fn from(text: PlainText<MAX, EXACT>) -> Self {
        text.0.into()
    }
}

impl<const MAX: usize> From<PlainText<MAX, true>> for PlainText<MAX> {
    fn from(text: PlainText<MAX, true>) -> Self {
        Self(text.0)
    }
}

/// Who signs in, as the FIDO2 server knows them. 255 characters is that server's own limit. Names
/// are the same if their code points are: case counts, nothing is folded.
pub type Username = PlainText<255, true>;
/// How a person is greeted; the same limit as [`Username`].
pub type DisplayName = PlainText<255>;
/// The initiator's sentence, shown on both sides.
pub type Message = PlainText<140>;
/// The initiator's own value, given back in the result token.
pub type ClientNonce = PlainText<128>;

/// A secret that a page keeps in a browser: 22 to 128 visible ASCII characters, which is at least
/// 128 bits in base64url. Its `Debug` prints nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(into = "String", try_from = "String")]
#[cfg_attr(feature = "schema", schemars(!into, !try_from))]
pub struct BrowserSecret(
    #[cfg_attr(feature = "schema", schemars(extend("pattern" = "^[!-~]{22,128}$")))] Box<str>,
);

/// A text that is no [`BrowserSecret`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 22 to 128 visible ASCII characters")]
pub struct InvalidBrowserSecret;

impl BrowserSecret {
    /// The text, to be hashed.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BrowserSecret {
    type Error = InvalidBrowserSecret;

    fn try_from(text: String) -> Result<Self, InvalidBrowserSecret> {
        let fits = (22..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Self(text.into())) } else { Err(InvalidBrowserSecret) }
    }
}

impl From<BrowserSecret> for String {
    fn from(secret: BrowserSecret) -> Self {
        secret.0.into()
    }
}

impl fmt::Debug for BrowserSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrowserSecret(hidden)")
    }
}
