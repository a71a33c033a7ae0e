//! JSON Schemas (2020-12) of the types whose form on the wire is not that of their fields: ids,
//! texts, numbers in bounds, reasons, and JSON that is passed on as it came. All other types derive
//! theirs, and with it their docs.
//!
//! A schema here says exactly what the type's parser takes, so that what a document generated from
//! it calls valid is never refused for its form. What of a text needs more than a class of
//! characters (blanks and combining marks in a row, joiners, normalization) is in its description
//! alone. Patterns keep to what ECMA-262 and
//! Python read alike.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::device::CardErrorCode;
use crate::ids::TenantId;
use crate::text::{FORBIDDEN, MARKS, PlainText};

/// The schema of 16 or 32 bytes in base64url behind a prefix. The last character carries two bits
/// of 16 bytes, and four of 32.
pub(crate) fn byte_id(prefix: &str, bytes: usize, description: &str) -> Schema {
    let last = if bytes % 3 == 1 { "AQgw" } else { "AEIMQUYcgkosw048" };
    let whole = bytes * 8 / 6;
    json_schema!({
        "type": "string",
        "description": description,
        "pattern": format!("^{prefix}[A-Za-z0-9_-]{{{whole}}}[{last}]$"),
    })
}

/// White space, one at a time.
const BLANK: [(char, char); 7] = [
    (' ', ' '),
    ('\u{A0}', '\u{A0}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{2000}', '\u{200A}'),
    ('\u{202F}', '\u{202F}'),
    ('\u{205F}', '\u{205F}'),
    ('\u{3000}', '\u{3000}'),
];

/// Ranges as they stand in a character class. Beyond the first plane the two dialects spell escapes
/// differently, so those characters stand for themselves.
fn class(ranges: &[(char, char)]) -> String {
    let spelt = |c: char| match u32::from(c) {
        code @ ..=0xFFFF => format!("\\u{code:04X}"),
        _ => c.to_string(),
    };
    ranges
        .iter()
        .map(|&(first, last)| match first == last {
            true => spelt(first),
            false => format!("{}-{}", spelt(first), spelt(last)),
        })
        .collect()
}

/// The ranges that a pattern names: below plane 4, since programs that generate texts take minutes
/// over a class of half of Unicode.
fn named() -> Vec<(char, char)> {
    // Not every reader of a document takes a noncharacter.
    let is_character = |c: &char| u32::from(*c) & 0xFFFE != 0xFFFE;
    FORBIDDEN
        .into_iter()
        .filter(|(_, last)| u32::from(*last) < 0x4_0000)
        .filter_map(|(first, last)| Some((first, (first..=last).rev().find(is_character)?)))
        .collect()
}

/// What every [`PlainText`] of a kind is, whatever its length.
struct Shown<const EXACT: bool>;

impl<const EXACT: bool> JsonSchema for Shown<EXACT> {
    fn schema_name() -> Cow<'static, str> {
        if EXACT { "ExactText" } else { "PlainText" }.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (hidden, blank) = (class(&named()), class(&BLANK));
        let (within, visible) = (format!("[^{hidden}]*"), format!("[^{hidden}{blank}]"));
        let (pattern, exact) = if EXACT {
            let whole = format!("^{visible}({within}{visible})?$");
            (whole, ", in Unicode normalization form C, compared by code points")
        } else {
            (format!("^{within}{visible}{within}$"), "")
        };
        json_schema!({
            "type": "string",
            "description": format!(
                "A text that shows what it says{exact}: no control, bidirectional, invisible or \
                private-use characters and no noncharacters, one blank in a row, {MARKS} combining marks in a row. \
                U+200C, U+200D and U+FE0F only where a script or an emoji needs them."
            ),
            "minLength": 1,
            "pattern": pattern,
        })
    }
}

impl<const MAX: usize, const EXACT: bool> JsonSchema for PlainText<MAX, EXACT> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}{MAX}", Shown::<EXACT>::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = generator.subschema_for::<Shown<EXACT>>();
        schema.insert("maxLength".to_owned(), MAX.into());
        schema
    }
}

impl JsonSchema for TenantId {
    fn schema_name() -> Cow<'static, str> {
        "TenantId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "One relying party.",
            "pattern": "^[a-z0-9-]{1,32}$",
        })
    }
}

impl JsonSchema for CardErrorCode {
    fn schema_name() -> Cow<'static, str> {
        "CardErrorCode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of the card SDK, or a name where the SDK has no number.",
            "oneOf": [
                { "type": "integer", "minimum": 600, "maximum": 617 },
                { "type": "string", "enum": ["already_registered", "pin_not_set"] },
            ],
        })
    }
}

/// A reason that names a card's error.
pub(crate) fn card_reason(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "description": "Any other card error, with its number.",
        "pattern": "^card_6(0[0-9]|1[0-7])$",
    })
}

/// JSON that is passed on as it came.
pub(crate) fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

/// A pairing is by token or by typed code, and not by both.
pub(crate) fn one_of_two_secrets(schema: &mut Schema) {
    let by = |name: &str| {
        serde_json::json!({
            "required": [name],
            "properties": { name: { "type": "string" } },
        })
    };
    let either = serde_json::json!([by("pairing_token"), by("typed_code")]);
    schema.insert("oneOf".to_owned(), either);
}
