//! JSON Schemas (2020-12) of the types whose form on the wire is not that of their fields: ids,
//! texts, numbers in bounds, reasons, and JSON that is passed on as it came. All other types derive
//! theirs, and with it their docs.
//!
//! A schema here says exactly what the type's parser takes, so that what a document generated from
//! it calls valid is never refused for its form. Patterns keep to what ECMA-262 and Python read
//! alike.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::device::CardErrorCode;
use crate::ids::TenantId;
use crate::text::{FORBIDDEN, PlainText};

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

/// White space that [`PlainText`] lets stand beside something visible.
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

/// What every [`PlainText`] is, whatever its length.
struct Shown;

impl JsonSchema for Shown {
    fn schema_name() -> Cow<'static, str> {
        "PlainText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (forbidden, blank) = (class(&FORBIDDEN), class(&BLANK));
        json_schema!({
            "type": "string",
            "description": "A text that shows what it says: not blank, and without control, \
                bidirectional and zero-width characters.",
            "minLength": 1,
            "pattern": format!("^[^{forbidden}]*[^{forbidden}{blank}][^{forbidden}]*$"),
        })
    }
}

impl<const MAX: usize> JsonSchema for PlainText<MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("PlainText{MAX}").into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = generator.subschema_for::<Shown>();
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
