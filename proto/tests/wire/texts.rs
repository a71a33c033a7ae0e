//! Texts that a person reads show what they say.

use fido_relay_proto::text::InvalidText;
use fido_relay_proto::{Message, PlainText};
use proptest::prelude::*;

/// Every code point that Unicode 16 lists as `Default_Ignorable_Code_Point` (it leaves no trace
/// on a screen), and the ones that end or reorder a line.
const INVISIBLE: [(u32, u32); 22] = [
    (0x0000, 0x001F),
    (0x007F, 0x009F),
    (0x00AD, 0x00AD),
    (0x034F, 0x034F),
    (0x061C, 0x061C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x2028, 0x2029),
    (0x202A, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8),
    (0xFFF9, 0xFFFB),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE00FF),
    (0xE0100, 0xE0FFF),
];

fn invisible() -> impl Iterator<Item = char> {
    INVISIBLE.into_iter().flat_map(|(from, to)| from..=to).filter_map(char::from_u32)
}

#[test]
fn no_invisible_character_passes_wherever_it_stands() {
    for c in invisible() {
        for text in [format!("{c}ab"), format!("a{c}b"), format!("ab{c}")] {
            let refused = PlainText::<10>::new(&text);
            assert_eq!(refused, Err(InvalidText::Forbidden), "U+{:04X}", u32::from(c));
        }
    }
}

#[test]
fn the_scripts_of_the_world_pass() {
    for text in [
        "Ada Lovelace",
        "Zo\u{EB} \u{141}ukasz O\u{2019}Brien",
        "\u{5E9}\u{5DC}\u{5D5}\u{5DD}",
        "\u{645}\u{631}\u{62D}\u{628}\u{627}",
        "\u{4F60}\u{597D} \u{3053}\u{3093}\u{306B}\u{3061}\u{306F} \u{C548}\u{B155}",
        "\u{928}\u{92E}\u{938}\u{94D}\u{924}\u{947}",
        "1\u{A0}200,00 \u{20AC} \u{1F4B3}",
        "<b>&amp; \"quotes\" 'n' \\ {braces}",
    ] {
        assert_eq!(PlainText::<140>::new(text).unwrap().as_str(), text);
    }
}

#[test]
fn length_is_counted_in_characters_and_the_bound_is_inclusive() {
    let at = "\u{1F511}".repeat(140);
    assert!(Message::new(&at).is_ok());
    assert_eq!(Message::new(&format!("{at}a")), Err(InvalidText::TooLong(140)));
}

#[test]
fn an_empty_text_is_no_text() {
    for text in ["", " ", "\u{3000}", " \t\n"] {
        assert_eq!(Message::new(text), Err(InvalidText::Empty), "{text:?}");
    }
}

#[test]
fn the_same_rules_hold_on_the_wire() {
    let read = |json: &str| serde_json::from_str::<PlainText<5>>(json);
    assert_eq!(read(r#""ab\u0063""#).unwrap().as_str(), "abc");
    for json in [r#""""#, r#""abcdef""#, r#""a\u202eb""#, r#""a\nb""#, "7", "null", r#"["a"]"#] {
        assert!(read(json).is_err(), "{json}");
    }
}

#[test]
fn a_refusal_does_not_repeat_the_text() {
    let error = serde_json::from_str::<PlainText<5>>(r#""sesame\u0007""#).unwrap_err();
    assert!(!error.to_string().contains("sesame"), "{error}");
}

proptest! {
    #[test]
    fn whatever_passes_is_kept_as_it_is_and_shows_every_character(text in "\\PC{0,12}|.{0,12}") {
        if let Ok(plain) = PlainText::<12>::new(&text) {
            prop_assert_eq!(plain.as_str(), &text);
            prop_assert!(!text.chars().any(|c| invisible().any(|hidden| hidden == c)));
            let json = serde_json::to_string(&plain).unwrap();
            prop_assert_eq!(serde_json::from_str::<PlainText<12>>(&json).unwrap(), plain);
        }
    }
}
