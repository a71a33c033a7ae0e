//! From the derived schema of a tagged enum to one message for each of its cases.

use fido_relay_proto::schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::{Parts, reference};
use crate::schema::components::Components;

/// One case of a tagged enum, as its message.
#[derive(Debug)]
pub(super) struct Case {
    /// The value of its tag.
    pub(super) tag: String,
    /// The message's place among the components.
    pub(super) key: String,
    /// The first sentences of its type's docs.
    pub(super) summary: String,
}

/// How the messages of one enum are named.
#[derive(Clone, Copy, Debug)]
pub(super) struct Naming {
    /// The prefix of the tag in a message's name.
    pub(super) prefix: &'static str,
    /// The members after the tag in the payload's schema.
    pub(super) suffix: &'static str,
}

/// Takes a tagged enum, or a struct with one flattened into it, apart: each case becomes a schema
/// and a message. `reads` gives the reference to the whole.
///
/// # Panics
/// If the schema is not that of a tagged enum, or a case has no example.
pub(super) fn split<T: JsonSchema>(
    parts: &mut Parts,
    components: &mut Components,
    reads: fn(&mut Components) -> Value,
    naming: Naming,
    examples: &[Value],
) -> Vec<Case> {
    let name = T::schema_name().into_owned();
    let whole = reads(components);
    assert_eq!(whole, reference(&format!("components/schemas/{name}")));
    let derived = reading(reads, &name);
    let Some(cases) = derived.get("oneOf").and_then(Value::as_array) else {
        unreachable!("{name} is a tagged enum")
    };
    parts.split.push(name.clone());
    let shared = derived.get("properties").and_then(Value::as_object);
    let required = derived.get("required").and_then(Value::as_array);
    let add = |case: &Value| {
        let mut case = case.clone();
        let tag = case["properties"]["type"]["enum"][0].as_str().unwrap_or_default().to_owned();
        assert!(!tag.is_empty(), "{name}: {case}");
        if let (Some(own), Some(shared)) = (case["properties"].as_object_mut(), shared) {
            own.extend(shared.clone());
        }
        if let (Some(own), Some(required)) = (case["required"].as_array_mut(), required) {
            own.extend(required.iter().cloned());
        }
        let summary = case["description"].as_str().unwrap_or_default().to_owned();
        assert!(!summary.is_empty(), "{name} {tag} says nothing of itself");
        let payload = format!("{}{}", title(&tag, ""), naming.suffix);
        // An object within has a name too, for the class that is made of it.
        if case["properties"]["data"].is_object() {
            let name = format!("{}Data", title(&tag, ""));
            let within = case["properties"]["data"].take();
            case["properties"]["data"] = reference(&format!("components/schemas/{name}"));
            parts.schemas.insert(name, within);
        }
        let key = format!("{}.{tag}", naming.prefix);
        let of_it: Vec<_> = examples.iter().filter(|example| example["type"] == *tag).collect();
        assert!(!of_it.is_empty(), "{name} {tag} has no example");
        let content = reference(&format!("components/schemas/{payload}"));
        let message = message(&tag, &title(&tag, " "), &summary, &content, &of_it);
        parts.messages.insert(key.clone(), message);
        parts.schemas.insert(payload, case);
        Case { tag, key, summary }
    };
    cases.iter().map(add).collect()
}

/// A schema by itself, with references left as they are.
fn reading(reads: fn(&mut Components) -> Value, name: &str) -> Value {
    let mut alone = Components::new();
    reads(&mut alone);
    alone.finish().remove(name).unwrap_or_default()
}

/// A message with its payload's schema.
pub(super) fn message(
    name: &str,
    title: &str,
    summary: &str,
    payload: &Value,
    examples: &[&Value],
) -> Value {
    let examples: Vec<_> = examples.iter().map(|payload| json!({ "payload": payload })).collect();
    json!({
        "name": name,
        "title": title,
        "summary": summary,
        "contentType": "application/json",
        "payload": payload,
        "examples": examples,
    })
}

/// `ceremony.closed` as `CeremonyClosed` or `Ceremony closed`.
pub(super) fn title(tag: &str, between: &str) -> String {
    let mut title = String::new();
    for word in tag.split(['.', '_']) {
        if !title.is_empty() {
            title.push_str(between);
        }
        let first = word.chars().next().filter(|_| between.is_empty() || title.is_empty());
        match first {
            Some(first) => {
                title.push(first.to_ascii_uppercase());
                title.push_str(&word[first.len_utf8()..]);
            }
            None => title.push_str(word),
        }
    }
    title
}

/// Which messages a channel carries: their short names there, with references.
pub(super) fn carried<'a>(cases: impl IntoIterator<Item = &'a Case>) -> Map<String, Value> {
    let carried =
        |case: &Case| (case.tag.clone(), reference(&format!("components/messages/{}", case.key)));
    cases.into_iter().map(carried).collect()
}

/// Draft 07 ignores the members beside a reference that a schema of 2020-12 has: there it needs a
/// schema of its own.
pub(super) fn draft07(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(draft07);
            let refers = map.get("$ref").is_some_and(Value::is_string);
            if refers && map.len() > 1 {
                let target = map.remove("$ref").unwrap_or_default();
                // Generators name what they make of a schema by its title.
                let name = target.as_str().and_then(|target| target.rsplit('/').next());
                map.insert("title".to_owned(), name.into());
                map.insert("allOf".to_owned(), json!([{ "$ref": target }]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(draft07),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
