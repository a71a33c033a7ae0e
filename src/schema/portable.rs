//! Derived schemas in the words that generators of clients understand, for both documents.
//!
//! What schemars derives is right, but generators take a choice of constants for a union of types,
//! a field with a default for one that is always there, and an unsigned integer for a small one.

use serde_json::{Map, Value, json};

/// The values of a choice that later versions may add to; [`OPEN`] is what `proto` marks it with.
pub(super) const OPEN: &str = "x-extensible-enum";
/// What each value means, in the order of the values.
const MEANINGS: &str = "x-enum-descriptions";
/// How a value that a later version adds will be written.
const CODE: &str = "^[a-z0-9_.:]+$";

/// Rewrites a schema and those within it.
pub(super) fn portable(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                // Its keys are names of fields.
                if let (Value::Object(fields), "properties") = (&mut *value, key.as_str()) {
                    fields.values_mut().for_each(portable);
                } else {
                    portable(value);
                }
            }
            plain_words(map);
            without_default(map);
            signed(map);
            choice(map);
        }
        Value::Array(items) => items.iter_mut().for_each(portable),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Descriptions are the docs of the types: what is there a link for rustdoc is here a name, and a
/// line break of the source is none of the text.
fn plain_words(schema: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace("[`", "`").replace("`]", "`").replace('\n', " ");
    }
}

/// openapi-typescript makes a field with a default a required one, in requests too. The default
/// becomes a sentence.
fn without_default(schema: &mut Map<String, Value>) {
    let Some(default) = schema.remove("default").filter(|default| !default.is_object()) else {
        return;
    };
    let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = format!("{text} Default: `{default}`.");
    }
}

/// Generators know `int32` and `int64`, and take any other integer for an `int32`.
fn signed(schema: &mut Map<String, Value>) {
    if let Some(Value::String(format)) = schema.get_mut("format") {
        match format.as_str() {
            "uint8" | "uint16" => *format = "int32".to_owned(),
            "uint32" | "uint64" | "uint" => *format = "int64".to_owned(),
            _ => {}
        }
    }
}

/// Constants, alone or to choose from, as an `enum`. A choice that may grow is any text of its
/// kind, with the values of today beside it: a client that is generated from it reads tomorrow's.
fn choice(schema: &mut Map<String, Value>) {
    if schema.get("const").is_some_and(Value::is_string) {
        let value = schema.remove("const");
        schema.insert("type".to_owned(), "string".into());
        schema.insert("enum".to_owned(), json!([value]));
    }
    let is_open = schema.contains_key(OPEN);
    let (mut values, mut meanings) = (Vec::new(), Vec::new());
    let Some(key) = ["oneOf", "anyOf"].into_iter().find(|key| schema.contains_key(*key)) else {
        return;
    };
    for case in schema[key].as_array().into_iter().flatten() {
        let Some(some) = case.get("enum").and_then(Value::as_array) else {
            // A pattern of values is in the description of a choice that may grow.
            if is_open {
                continue;
            }
            return;
        };
        values.extend(some.iter().cloned());
        match case.get(MEANINGS).and_then(Value::as_array) {
            Some(known) => meanings.extend(known.iter().cloned()),
            None => meanings.extend(some.iter().map(|_| case["description"].clone())),
        }
    }
    if !values.iter().all(Value::is_string) {
        return;
    }
    schema.remove(key);
    schema.insert("type".to_owned(), "string".into());
    if is_open {
        schema.insert("pattern".to_owned(), CODE.into());
        schema.insert("examples".to_owned(), json!([values[0]]));
    }
    schema.insert(if is_open { OPEN } else { "enum" }.to_owned(), values.into());
    schema.insert(MEANINGS.to_owned(), meanings.into());
}
