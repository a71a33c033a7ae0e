//! What a schema says of the types, in the cases that derive does not decide by itself.

use fido_relay_proto::device::{Challenge, Offer};
use fido_relay_proto::http::{CeremonyView, OpenCeremony};
use serde_json::{Value, json};

use super::components::Components;

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
