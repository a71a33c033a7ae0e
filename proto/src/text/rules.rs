//! Properties of single characters by Unicode, and rules for their neighbours.

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{
    CanonicalCombiningClass, ExtendedPictographic, GeneralCategory, JoiningType,
};
use icu_properties::{CodePointMapData, CodePointSetData};

const ZWNJ: char = '\u{200C}';
const ZWJ: char = '\u{200D}';
/// Asks for the coloured form of the emoji before it.
const EMOJI_STYLE: char = '\u{FE0F}';
/// Draws a key around the digit before it.
const KEYCAP: char = '\u{20E3}';
const SKIN_TONES: std::ops::RangeInclusive<char> = '\u{1F3FB}'..='\u{1F3FF}';

/// Characters that pass nowhere: control characters, line and paragraph separators, the
/// `Default_Ignorable_Code_Point`s (bidirectional controls, zero-width characters, fillers,
/// variation selectors, tags) but the three that [`Before::lets_pass`] knows, glyphs that are blank
/// (Braille, Egyptian, Khitan, a note without a head), U+FFFC and U+FFFD, private use,
/// noncharacters, and the planes to which nothing is assigned.
const FORBIDDEN: [(char, char); 28] = [
    ('\0', '\u{1F}'),
    ('\u{7F}', '\u{9F}'),
    ('\u{AD}', '\u{AD}'),
    ('\u{34F}', '\u{34F}'),
    ('\u{61C}', '\u{61C}'),
    ('\u{115F}', '\u{1160}'),
    ('\u{17B4}', '\u{17B5}'),
    ('\u{180B}', '\u{180F}'),
    ('\u{200B}', '\u{200B}'),
    ('\u{200E}', '\u{200F}'),
    ('\u{2028}', '\u{202E}'),
    ('\u{2060}', '\u{206F}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{E000}', '\u{F8FF}'),
    ('\u{FDD0}', '\u{FDEF}'),
    ('\u{FE00}', '\u{FE0E}'),
    ('\u{FEFF}', '\u{FEFF}'),
    ('\u{FFA0}', '\u{FFA0}'),
    ('\u{FFF0}', '\u{FFFF}'),
    ('\u{13430}', '\u{13442}'),
    ('\u{16FE4}', '\u{16FE4}'),
    ('\u{1BCA0}', '\u{1BCA3}'),
    ('\u{1D159}', '\u{1D159}'),
    ('\u{1D173}', '\u{1D17A}'),
    ('\u{1FFFE}', '\u{1FFFF}'),
    ('\u{2FFFE}', '\u{2FFFF}'),
    ('\u{3FFFE}', '\u{10FFFF}'),
];

pub(super) fn is_forbidden(c: char) -> bool {
    let at = FORBIDDEN.partition_point(|&(_, last)| last < c);
    FORBIDDEN.get(at).is_some_and(|&(first, _)| first <= c)
}

/// A mark without width.
pub(super) fn is_mark(c: char) -> bool {
    let category = || CodePointMapData::<GeneralCategory>::new().get(c);
    !c.is_ascii()
        && matches!(category(), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

/// Normalization form C.
pub(super) fn is_nfc(text: &str) -> bool {
    ComposingNormalizerBorrowed::new_nfc().is_normalized(text)
}

fn joining(c: char) -> JoiningType {
    CodePointMapData::<JoiningType>::new().get(c)
}

fn is_pictograph(c: char) -> bool {
    CodePointSetData::new::<ExtendedPictographic>().contains(c)
}

/// What the characters before a place allow there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    pub(super) is_blank: bool,
    is_virama: bool,
    /// The last letter joins to the next one, marks between passed over.
    joins: bool,
    is_pictograph: bool,
    /// A character that a keycap emoji begins with.
    is_keycap: bool,
    /// A pictograph, with its style and skin tone if it has them.
    is_emoji: bool,
}

impl Before {
    /// Whether the joiner or selector `c` is needed between these characters and `after`; any
    /// other character passes.
    pub(super) fn lets_pass(self, c: char, mut after: impl Iterator<Item = char>) -> bool {
        match c {
            ZWNJ => {
                self.is_virama
                    || self.joins
                        && after.find(|c| joining(*c) != JoiningType::Transparent).is_some_and(
                            |c| {
                                matches!(
                                    joining(c),
                                    JoiningType::RightJoining | JoiningType::DualJoining
                                )
                            },
                        )
            }
            ZWJ => self.is_virama || self.is_emoji && after.next().is_some_and(is_pictograph),
            EMOJI_STYLE => self.is_pictograph || self.is_keycap && after.next() == Some(KEYCAP),
            _ => true,
        }
    }

    /// The same one character later.
    pub(super) fn and(self, c: char) -> Self {
        let is_blank = c.is_whitespace();
        if c.is_ascii() {
            let is_keycap = c.is_ascii_digit() || c == '#' || c == '*';
            return Self { is_blank, is_keycap, ..Self::default() };
        }
        let class = CodePointMapData::<CanonicalCombiningClass>::new().get(c);
        let is_pictograph = is_pictograph(c);
        Self {
            is_blank,
            is_virama: class == CanonicalCombiningClass::Virama,
            joins: match joining(c) {
                JoiningType::Transparent => self.joins,
                joining => {
                    joining == JoiningType::LeftJoining || joining == JoiningType::DualJoining
                }
            },
            is_pictograph,
            is_keycap: false,
            is_emoji: is_pictograph
                || self.is_emoji && (c == EMOJI_STYLE || SKIN_TONES.contains(&c)),
        }
    }
}
