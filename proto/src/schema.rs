//! JSON Schemas (2020-12) of the types whose form on the wire is not that of their fields: ids,
//! texts, numbers in bounds, reasons, and JSON that is passed on as it came. All other types derive
//! theirs, and with it their docs.
//!
//! A schema here takes all that the type's parser takes. What of a text needs more than a class of
//! ASCII and Latin-1 (invisible characters, blanks and combining marks in a row, joiners,
//! normalization) is in its description alone: patterns keep to what ECMA-262 with and without `u`,
//! Python, Java and RE2 read alike, which share no escape beyond `\xFF`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::device::CardErrorCode;
use crate::ids::TenantId;
use crate::life::Outcome;
use crate::text::{MARKS, PlainText};

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

impl<const MAX: usize, const EXACT: bool> JsonSchema for PlainText<MAX, EXACT> {
    fn schema_name() -> Cow<'static, str> {
        if EXACT { "Username".into() } else { format!("PlainText{MAX}").into() }
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // Control characters, and with them what is blank in ASCII and Latin-1.
        let (hidden, blank) = (r"\x00-\x1F\x7F-\x9F", r"\x20\xA0");
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
                private-use characters and no noncharacters, one blank in a row, {MARKS} combining \
                marks in a row. U+200C, U+200D and U+FE0F only where a script or an emoji needs them."
            ),
            "minLength": 1,
            "maxLength": MAX,
            "pattern": pattern,
        })
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

/// The outcomes, among the values of something else.
pub(crate) fn outcomes(generator: &mut SchemaGenerator) -> Schema {
    Outcome::json_schema(generator)
}

/// RFC 7518 section 6.2.2: the member that only a private key has.
pub(crate) fn public_half(schema: &mut Schema) {
    schema.insert(
        "not".to_owned(),
        serde_json::json!({ "properties": { "d": {} }, "required": ["d"] }),
    );
}
