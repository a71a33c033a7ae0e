//! That nothing of the wire is missing in the document. That it is one of AsyncAPI, and that the
//! relay keeps to it, is for the integration tests.

use std::collections::BTreeSet;

use fido_relay_proto::watch::WatchEnd;
use fido_relay_proto::webhook::WebhookEvent;
use serde_json::Value;

use super::document;
use crate::core::session::CloseReason;

/// Every reference, wherever it stands.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn whatever_is_referred_to_is_there_and_every_schema_is_used() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    for target in &found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} is nowhere");
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        let target = format!("#/components/schemas/{name}");
        assert!(found.contains(&&*target), "{name} is used by nothing");
    }
}

#[test]
fn nothing_is_said_beside_a_reference_where_nobody_reads_it() {
    fn look(value: &Value) {
        match value {
            Value::Object(map) => {
                assert!(!map.contains_key("$ref") || map.len() == 1, "{value}");
                map.values().for_each(look);
            }
            Value::Array(items) => items.iter().for_each(look),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    look(&document());
}

#[test]
fn every_way_for_a_socket_to_end_is_told() {
    let document = document();
    let told = |channel: &str| -> BTreeSet<(u64, String)> {
        let codes = document["channels"][channel]["x-close-codes"].as_array().unwrap();
        let text = |code: &Value| code["reason"].as_str().unwrap().to_owned();
        codes.iter().map(|code| (code["code"].as_u64().unwrap(), text(code))).collect()
    };
    let device = CloseReason::ALL.into_iter();
    let device = device.filter_map(|end| Some((u64::from(end.code()?), end.name().to_owned())));
    assert_eq!(told("deviceSocket"), device.collect());
    let watch = WatchEnd::ALL.map(|end| (u64::from(end.code()), end.name().to_owned()));
    assert_eq!(told("ceremonySocket"), watch.into());
}

#[test]
fn every_message_of_a_channel_has_an_operation_and_every_webhook_a_message() {
    let document = document();
    let mut found = Vec::new();
    references(&document["operations"], &mut found);
    for (channel, description) in document["channels"].as_object().unwrap() {
        for message in description["messages"].as_object().unwrap().keys() {
            let target = format!("#/channels/{channel}/messages/{message}");
            assert!(found.contains(&&*target), "{target} is in no operation");
        }
    }
    let webhooks = document["channels"]["webhooks"]["messages"].as_object().unwrap();
    for event in WebhookEvent::ALL {
        assert!(webhooks.contains_key(event.as_str()), "{}", event.as_str());
    }
}
