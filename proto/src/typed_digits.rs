//! The digits of a ceremony's code as people type and paste them: in the script of their keyboard,
//! in groups, with the marks that come along from text that is written from right to left.

use crate::limits::CODE_DIGITS;

/// The digit zero of every script: those of Unicode 17 whose category is Nd. The nine after each
/// are its other digits (Unicode section 4.6).
const ZEROS: [u32; 77] = [
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66,
    0xde6, 0xe50, 0xed0, 0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90,
    0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x10d40, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0,
    0x11650, 0x116c0, 0x116d0, 0x116da, 0x11730, 0x118e0, 0x11950, 0x11bf0, 0x11c50, 0x11d50,
    0x11da0, 0x11de0, 0x11f50, 0x16130, 0x16a60, 0x16ac0, 0x16b50, 0x16d70, 0x1ccf0, 0x1d7ce,
    0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e4f0, 0x1e5f1, 0x1e950, 0x1fbf0,
];

/// The code in ASCII digits, or `None` if this is not [`CODE_DIGITS`] digits once blanks and
/// hyphens are taken off.
#[must_use]
pub fn code(typed: &str) -> Option<String> {
    let mut digits = String::new();
    for char in typed.chars().filter(|char| !does_not_count(*char)) {
        if digits.len() == usize::from(CODE_DIGITS) {
            return None;
        }
        digits.push(digit(char)?);
    }
    (digits.len() == usize::from(CODE_DIGITS)).then_some(digits)
}

fn digit(char: char) -> Option<char> {
    let zero = ZEROS[..ZEROS.partition_point(|zero| *zero <= u32::from(char))].last()?;
    char::from_digit(u32::from(char) - zero, 10)
}

/// Blanks, hyphens and dashes, and what cannot be seen: directional marks, joiners, the byte order
/// mark.
fn does_not_count(char: char) -> bool {
    char.is_whitespace()
        || matches!(
            char,
            '-' | '\u{ad}'
                | '\u{58a}'
                | '\u{5be}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2010}'..='\u{2015}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{2064}'
                | '\u{2066}'..='\u{2069}'
                | '\u{2212}'
                | '\u{fe58}'
                | '\u{fe63}'
                | '\u{feff}'
                | '\u{ff0d}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_in_every_script_and_grouping() {
        for typed in [
            "123456",
            " 123456\n",
            "123 456",
            "123-456",
            "1 2 3 4 5 6",
            "123\u{a0}456",
            "123\u{202f}456",
            "123\u{2011}456",
            "123 – 456",
            "１２３４５６",
            "１２３－４５６",
            "١٢٣٤٥٦",
            "۱۲۳۴۵۶",
            "\u{200f}١٢٣\u{200f} ٤٥٦\u{202c}",
            "१२३४५६",
            "১২৩৪৫৬",
            "๑๒๓๔๕๖",
            "𝟏𝟐𝟑𝟒𝟓𝟔",
            "𝟷𝟸𝟹𝟺𝟻𝟼",
            "12٣४５৬",
        ] {
            assert_eq!(code(typed).as_deref(), Some("123456"), "{typed:?}");
        }
        assert_eq!(code("000000").as_deref(), Some("000000"));
        assert_eq!(code("٠٠٠ ٠٠٩").as_deref(), Some("000009"));
    }

    #[test]
    fn what_is_not_six_digits_is_no_code() {
        for typed in [
            "",
            " ",
            "---",
            "12345",
            "1234567",
            "123456 7",
            "12345a",
            "a123456",
            "123.456",
            "123,456",
            "+123456",
            "12345六",
            "12345Ⅵ",
            "12345⁶",
            "12345½",
            "１２３４５",
            "code 123456",
        ] {
            assert_eq!(code(typed), None, "{typed:?}");
        }
        assert_eq!(code(&"1".repeat(30_000)), None);
    }

    #[test]
    fn every_script_has_ten_digits_that_no_other_has() {
        let mut next = 0;
        for zero in ZEROS {
            assert!(zero >= next, "{zero:#x}");
            next = zero + 10;
            for value in 0..10 {
                let char = char::from_u32(zero + value).unwrap();
                assert!(char.is_numeric(), "{char:?}");
                assert_eq!(digit(char), char::from_digit(value, 10), "{char:?}");
            }
        }
        let (before, after) = ('/', ':');
        assert_eq!((digit(before), digit(after), digit('\u{1fbfa}')), (None, None, None));
    }
}
