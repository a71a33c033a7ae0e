//! Texts that a person reads show what they say.

use fido_relay_proto::http::{OpenCeremony, RenameDevice};
use fido_relay_proto::text::{InvalidText, read_stored};
use fido_relay_proto::{DisplayName, Message, PlainText, Username};
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};
use proptest::prelude::*;
use serde_json::{Value, json};

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

/// What shows as nothing or as what one program makes of it, and the ends of a line: passes nowhere.
const MEANINGLESS: [(u32, u32); 8] = [
    (0x2800, 0x2800),
    (0xE000, 0xF8FF),
    (0xFDD0, 0xFDEF),
    (0xFFFC, 0xFFFF),
    (0x13441, 0x13442),
    (0x1D159, 0x1D159),
    (0xF0000, 0xFFFFF),
    (0x100000, 0x10FFFF),
];

/// Passes where a script or an emoji needs it.
const NEEDED: [char; 3] = ['\u{200C}', '\u{200D}', '\u{FE0F}'];

fn hidden() -> impl Iterator<Item = char> {
    let planes = (0..=16).map(|plane| (plane << 16 | 0xFFFE, plane << 16 | 0xFFFF));
    let ranges = INVISIBLE.into_iter().chain(MEANINGLESS).chain(planes);
    ranges.flat_map(|(from, to)| from..=to).filter_map(char::from_u32)
}

#[test]
fn no_invisible_or_meaningless_character_passes_wherever_it_stands() {
    for c in hidden() {
        let reason = if NEEDED.contains(&c) { InvalidText::Joiner } else { InvalidText::Forbidden };
        for text in [format!("{c}ab"), format!("a{c}b"), format!("ab{c}")] {
            let refused = Message::new(&text);
            assert_eq!(refused, Err(reason), "U+{:04X}", u32::from(c));
        }
    }
}

#[test]
fn nothing_that_unicode_calls_ignorable_or_a_format_character_passes_alone() {
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let category = CodePointMapData::<GeneralCategory>::new();
    // Signs that are written before digits or a title, and seen.
    let seen = |c: char| {
        matches!(
            c,
            '\u{600}'..='\u{605}' | '\u{6DD}' | '\u{70F}' | '\u{890}' | '\u{891}' | '\u{8E2}'
        ) || matches!(c, '\u{110BD}' | '\u{110CD}')
    };
    for c in '\0'..=char::MAX {
        let refused = Message::new(&format!("a{c}b")).is_err();
        let hides = ignorable.contains(c) || category.get(c) == GeneralCategory::Format;
        assert!(refused || !hides || seen(c), "U+{:04X}", u32::from(c));
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
        // Persian, Sinhala, Hindi, Kannada: joiners between the letters that need them.
        "\u{639}\u{644}\u{6CC}\u{200C}\u{631}\u{636}\u{627}",
        "\u{645}\u{6CC}\u{200C}\u{62E}\u{648}\u{627}\u{647}\u{6CC}\u{62F}",
        "\u{DC1}\u{DCA}\u{200D}\u{DBB}\u{DD3}",
        "\u{915}\u{94D}\u{200D}\u{937} \u{915}\u{94D}\u{200C}\u{937}",
        "\u{CB0}\u{CCD}\u{200C}\u{C95}",
        // A mark between letter and joiner.
        "\u{628}\u{64E}\u{200C}\u{64F}\u{628}",
        // Emoji: an astronaut, with a skin tone, the eye in a bubble, a family, a heart, a flag.
        "\u{1F469}\u{200D}\u{1F680}",
        "\u{1F469}\u{1F3FD}\u{200D}\u{1F680}",
        "\u{1F441}\u{FE0F}\u{200D}\u{1F5E8}\u{FE0F}",
        "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}",
        "\u{2764}\u{FE0F} \u{1F3F3}\u{FE0F}\u{200D}\u{1F308} \u{1F1E6}\u{1F1F9}",
        "1\u{FE0F}\u{20E3} #\u{FE0F}\u{20E3}",
        // Hebrew with points, Tibetan stacks, Vietnamese in two parts, Thai.
        "\u{5E9}\u{5BC}\u{5C1}\u{5B8}\u{5DC}\u{5D5}\u{5B9}\u{5DD}",
        "\u{F56}\u{F66}\u{F92}\u{FB2}\u{F74}\u{F56}\u{F66}",
        "Nguye\u{302}\u{303}n",
        "\u{E19}\u{E49}\u{E33}",
        "\u{5D0} 100 EUR \u{5D1} 5",
    ] {
        assert_eq!(Message::new(text).unwrap().as_str(), text);
        assert_eq!(PlainText::<40, false>::new(text).unwrap().as_str(), text);
    }
}

#[test]
fn joiners_and_selectors_pass_nowhere_else() {
    for text in [
        // Between letters that do not join, and at either end of those that do.
        "a\u{200C}b",
        "pay\u{200D}pal",
        "\u{631}\u{200C}\u{631}",
        "\u{628}\u{200C}",
        "\u{200C}\u{628}",
        "\u{628}\u{200C} \u{628}",
        "\u{628}\u{200C}a",
        // Several of them.
        "\u{628}\u{200C}\u{200C}\u{628}",
        "\u{DC1}\u{DCA}\u{200D}\u{200D}\u{DBB}",
        "\u{628}\u{200D}\u{628}",
        // Half an emoji, and a style without one.
        "\u{1F469}\u{200D}",
        "\u{1F469}\u{200D}a",
        "a\u{200D}\u{1F680}",
        "5\u{FE0F}",
        "\u{2764}\u{FE0F}\u{FE0F}",
        "\u{1F469}\u{200D}\u{200D}\u{1F680}",
    ] {
        assert_eq!(Message::new(text), Err(InvalidText::Joiner), "{text:?}");
    }
}

#[test]
fn blanks_and_marks_have_a_bound() {
    for (text, reason) in [
        (format!("5 EUR{}", "\u{2800}".repeat(60)), InvalidText::Forbidden),
        (format!("5{}", "\u{335}".repeat(130)), InvalidText::Marks),
        (format!("5 EUR{}and 9,000 EUR more", " ".repeat(110)), InvalidText::Blanks),
        ("5 EUR \u{A0}and more".to_owned(), InvalidText::Blanks),
        ("5 EUR\u{2003}\u{3000}and more".to_owned(), InvalidText::Blanks),
        ("a\u{301}\u{302}\u{303}\u{304}".to_owned(), InvalidText::Marks),
        ("a\u{301}\u{20DD}\u{303}\u{20DE}".to_owned(), InvalidText::Marks),
    ] {
        assert_eq!(Message::new(&text), Err(reason), "{text:?}");
    }
    assert!(Message::new("a\u{301}\u{302}\u{303}b\u{301}\u{302}\u{303} \u{A9}").is_ok());
}

#[test]
fn a_username_has_one_spelling() {
    for text in ["ada", "Ada", "\u{E9}", "ada lovelace", "\u{639}\u{644}\u{6CC}\u{200C}\u{631}"] {
        let username = Username::new(text).unwrap();
        assert_eq!(username.as_str(), text);
        assert_eq!(DisplayName::from(username).as_str(), text);
    }
    assert_ne!(Username::new("ada"), Username::new("Ada"));
    for (text, reason) in [
        (" ada", InvalidText::Edges),
        ("ada\u{A0}", InvalidText::Edges),
        ("e\u{301}", InvalidText::NotNfc),
        // The sign of the ohm and of the angstrom, and a Hangul syllable in parts.
        ("\u{2126}", InvalidText::NotNfc),
        ("\u{212B}", InvalidText::NotNfc),
        ("\u{1112}\u{1161}\u{11AB}", InvalidText::NotNfc),
        ("a  b", InvalidText::Blanks),
    ] {
        assert_eq!(Username::new(text), Err(reason), "{text:?}");
    }
    // Elsewhere they are only shown.
    assert!(DisplayName::new(" e\u{301} ").is_ok());
}

#[test]
fn a_stored_text_is_read_by_the_rules_that_it_was_stored_under() {
    let read = |json: &str| serde_json::from_str::<Username>(json);
    for json in [r#"" ada""#, r#""a  b""#, r#""e\u0301""#] {
        assert!(read(json).is_err(), "{json}");
        assert!(read_stored(|| read(json)).is_ok(), "{json}");
        assert!(read(json).is_err(), "{json}: the rules hold again");
    }
    std::panic::catch_unwind(|| read_stored(|| panic!("a decoder"))).unwrap_err();
    assert!(read(r#""a  b""#).is_err(), "also after a panic");
}

/// Every field of every request that takes a text for people, with `text` in it.
fn in_every_field(text: &str) -> [(&'static str, Result<(), serde_json::Error>); 9] {
    fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<(), serde_json::Error> {
        serde_json::from_value::<T>(value).map(drop)
    }
    let open = |extra: Value| {
        let mut body = json!({ "type": "approval", "username": "ada" });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        read::<OpenCeremony>(body)
    };
    let transaction = |title: &str, label: &str, value: &str| {
        let fields = json!([{ "label": label, "value": value }]);
        open(json!({ "transaction": { "title": title, "fields": fields } }))
    };
    [
        ("username", open(json!({ "username": text }))),
        ("display_name", open(json!({ "display_name": text }))),
        ("message", open(json!({ "message": text }))),
        ("title", transaction(text, "a", "a")),
        ("label", transaction("a", text, "a")),
        ("value", transaction("a", "a", text)),
        ("location", open(json!({ "context": { "location": text } }))),
        ("device name", read::<RenameDevice>(json!({ "name": text }))),
        ("client name", read::<PlainText<64>>(json!(text))),
    ]
}

#[test]
fn every_field_keeps_the_same_rules() {
    for text in ["Ada", "\u{639}\u{644}\u{6CC}\u{200C}\u{631}", "\u{1F469}\u{200D}\u{1F680}"] {
        for (field, read) in in_every_field(text) {
            assert!(read.is_ok(), "{field}: {text:?}: {read:?}");
        }
    }
    let refused = [
        "a\u{200C}b",
        "a\u{2800}",
        "a  b",
        "a\u{335}\u{335}\u{335}\u{335}",
        "\u{301}a",
        "\u{FFFC}",
        "\u{E000}",
        "\u{FFFF}",
        "\u{1D159}",
        "a\u{202E}b",
    ];
    for text in refused {
        for (field, read) in in_every_field(text) {
            let error = read.expect_err(&format!("{field}: {text:?}")).to_string();
            assert!(error.starts_with("must not ") || error.starts_with("must have "), "{error}");
            assert!(!error.contains(text), "{field}: {error}");
        }
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

/// Texts that pass, of the kinds that need rules of their own.
fn allowed() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,6}( [a-z]{1,6}){0,2}",
        "[\u{5D0}-\u{5EA}]{1,8}",
        Just("\u{645}\u{6CC}\u{200C}\u{62E}\u{648}\u{627}\u{647}".to_owned()),
        Just("\u{DC1}\u{DCA}\u{200D}\u{DBB}\u{DD3}".to_owned()),
        Just("\u{1F469}\u{1F3FD}\u{200D}\u{1F680}".to_owned()),
        Just("\u{2764}\u{FE0F}".to_owned()),
        Just("a\u{301}\u{302}\u{303}".to_owned()),
    ]
}

/// What refuses a text wherever it stands in it.
fn refused() -> impl Strategy<Value = String> {
    let blank = || prop::sample::select(vec![' ', '\u{A0}', '\u{2003}', '\u{3000}']);
    let mark = || prop::sample::select(vec!['\u{301}', '\u{335}', '\u{5B8}', '\u{20DD}']);
    let hidden: Vec<_> = hidden().filter(|c| !NEEDED.contains(c)).collect();
    prop_oneof![
        prop::sample::select(hidden).prop_map(String::from),
        prop::collection::vec(blank(), 2..9).prop_map(String::from_iter),
        prop::collection::vec(mark(), 4..9).prop_map(String::from_iter),
        "x[\u{200C}\u{200D}\u{FE0F}]x",
        "[\u{200C}\u{200D}]{2}",
    ]
}

proptest! {
    #[test]
    fn whatever_passes_is_kept_as_it_is_and_shows_every_character(text in "\\PC{0,12}|.{0,12}") {
        if let Ok(plain) = Message::new(&text) {
            prop_assert_eq!(plain.as_str(), &text);
            let unseen = |c: char| !NEEDED.contains(&c) && hidden().any(|hidden| hidden == c);
            prop_assert!(!text.chars().any(unseen));
            let json = serde_json::to_string(&plain).unwrap();
            prop_assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), plain);
        }
    }

    #[test]
    fn what_passes_alone_passes_beside_another(parts in prop::collection::vec(allowed(), 1..5)) {
        let text = parts.join(" ");
        prop_assert!(Message::new(&text).is_ok(), "{text:?}");
    }

    #[test]
    fn nothing_that_is_refused_passes_within_what_is_allowed(
        before in allowed(), refused in refused(), after in allowed(),
    ) {
        let text = format!("{before}{refused}{after}");
        for (field, read) in in_every_field(&text) {
            prop_assert!(read.is_err(), "{field}: {text:?}");
        }
    }
}
