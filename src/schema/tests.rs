//! What a schema says of the types, in the cases that derive does not decide by itself.

use fido_relay_proto::device::{Challenge, Offer};
use fido_relay_proto::http::{CeremonyView, OpenCeremony};
use serde_json::{Value, json};

use super::components::Components;
use super::portable::OPEN;
use super::{asyncapi, openapi};

#[test]
fn what_is_given_may_gain_fields_and_says_nothing_by_null() {
    let mut components = Components::new();
    assert_eq!(components.gives::<Offer>(), json!({ "$ref": "#/components/schemas/Offer" }));
    components.gives::<Challenge>();
    components.gives::<CeremonyView>();
    let text = Value::Object(components.finish()).to_string();
    assert!(text.contains("BrowserContext"));
    assert!(!text.contains("additionalProperties"), "{text}");
    assert!(!text.contains("null"), "{text}");
}

#[test]
fn what_is_taken_refuses_unknown_fields_and_takes_null_for_what_may_be_left_out() {
    let mut components = Components::new();
    components.takes::<OpenCeremony>();
    let schemas = components.finish();
    let open = &schemas["OpenCeremony"];
    assert_eq!(open["additionalProperties"], false);
    assert_eq!(open["required"], json!(["type", "username"]));
    assert_eq!(open["properties"]["timeout_s"]["type"], json!(["integer", "null"]));
}

#[test]
fn descriptions_are_plain_words() {
    let mut components = Components::new();
    components.takes::<OpenCeremony>();
    let text = Value::Object(components.finish()).to_string();
    assert!(!text.contains("[`"), "{text}");
    assert!(!text.contains("\\n"), "{text}");
}

/// Every schema of both documents and what is within it, with its place.
fn each(value: &Value, place: &str, look: &mut impl FnMut(&str, &serde_json::Map<String, Value>)) {
    match value {
        Value::Object(map) => {
            look(place, map);
            let inner = map.iter().filter(|(key, _)| *key != "examples" && *key != "variables");
            inner.for_each(|(key, value)| each(value, &format!("{place}/{key}"), look));
        }
        Value::Array(items) => items.iter().for_each(|item| each(item, place, look)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn both_documents_keep_to_what_generators_understand() {
    let (mut closed, mut open, mut patterns) = (0, 0, 0);
    for document in [openapi::document(), asyncapi::document()] {
        each(&document, "", &mut |place, map| {
            if place.ends_with("/properties") {
                return;
            }
            for word in ["const", "default"] {
                assert!(!map.contains_key(word), "{place}: {word}");
            }
            if let Some(Value::Array(values)) = map.get("enum") {
                closed += 1;
                assert_eq!(map["type"], "string", "{place}");
                assert!(values.iter().all(Value::is_string), "{place}");
            }
            if map.contains_key(OPEN) {
                open += 1;
                assert_eq!(map["type"], "string", "{place}");
                assert!(map[OPEN].is_array() && map.contains_key("examples"), "{place}");
            }
            if let Some(Value::String(pattern)) = map.get("pattern") {
                patterns += 1;
                assert!(pattern.is_ascii() && !pattern.contains("\\u"), "{place}: {pattern}");
            }
            if let Some(Value::String(format)) = map.get("format") {
                assert!(!format.starts_with("uint"), "{place}: {format}");
            }
        });
    }
    assert!(closed > 20 && open > 8 && patterns > 20, "{closed} {open} {patterns}");
}

#[test]
fn codes_that_may_grow_are_texts_and_problems_are_of_one_schema() {
    let document = openapi::document();
    let schemas = &document["components"]["schemas"];
    for name in ["ProblemCode", "Reason", "Step", "TokenErrorCode", "Scope", "WebhookFailure"] {
        assert!(schemas[name]["enum"].is_null() && schemas[name][OPEN].is_array(), "{name}");
    }
    assert_eq!(schemas["Status"]["enum"].as_array().unwrap().len(), 8);
    let problem = json!({ "$ref": "#/components/schemas/Problem" });
    for (name, response) in document["components"]["responses"].as_object().unwrap() {
        assert_eq!(response["content"]["application/problem+json"]["schema"], problem, "{name}");
    }
}
