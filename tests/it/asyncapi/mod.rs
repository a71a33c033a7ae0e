//! The AsyncAPI document against its specification, against the wire's own samples, and against
//! what a running relay really says and takes.

mod live;
mod page;
#[path = "../../../proto/tests/wire/samples.rs"]
mod samples;

use fido_relay_proto::device::FrameError;
use fido_relay_proto::{DeviceFrame, RelayFrame};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::child::run_with;
use crate::support::needs;

/// What the parser and the validator say.
#[derive(Debug, serde::Deserialize)]
struct Said {
    /// Errors and warnings of the official parser.
    complaints: Vec<String>,
    /// Why a text is none of its message, in the order of the question.
    verdicts: Vec<Option<String>>,
}

/// Asks about the document as the relay serves it and about texts of messages; none where the
/// programs for it are missing.
async fn ask(what: &str, messages: &[Value]) -> Option<Said> {
    let node = needs::asyncapi(what)?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/asyncapi/check.mjs");
    let question =
        json!({ "document": fido_relay::schema::asyncapi::document(), "messages": messages });
    let checked = run_with(Command::new(node).arg(script), &question.to_string()).await;
    let said: Said = serde_json::from_value(checked.json()).unwrap();
    assert_eq!(said.verdicts.len(), messages.len());
    Some(said)
}

fn message(key: &str, text: &str) -> Value {
    json!({ "message": key, "text": text })
}

/// What may stand in the place of any value.
fn others() -> [Value; 6] {
    [json!(null), json!(-1), json!(true), json!([]), json!({}), json!("\u{1B}")]
}

/// The same JSON with one field gone or another value in its place, at any depth that is ours.
fn mutations(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    let Value::Object(map) = value else { return all };
    for (key, inner) in map {
        let mut without = map.clone();
        without.remove(key);
        all.push(Value::Object(without));
        // What is passed on as it came is none of the relay's to read.
        if matches!(&**key, "public_key" | "credential") {
            continue;
        }
        for other in others().into_iter().chain(mutations(inner)) {
            let mut with = map.clone();
            with.insert(key.clone(), other);
            all.push(Value::Object(with));
        }
    }
    all
}

#[tokio::test]
async fn the_document_is_valid_and_knows_every_sample_of_the_wire_and_refuses_what_the_relay_does()
{
    let mut messages = Vec::new();
    let mut reads = Vec::new();
    let relay = samples::relay_frames().into_iter().map(|frame| (frame.encode(), false));
    let device = samples::device_frames().into_iter().map(|frame| (frame.encode(), true));
    for (text, is_taken) in relay.chain(device) {
        let frame: Value = serde_json::from_str(&text).unwrap();
        let tag = frame["type"].as_str().unwrap();
        messages.push(message(&format!("device.{tag}"), &text));
        reads.push((text.clone(), true));
        if let Some(code) = frame["code"].as_u64() {
            let mut spelt = frame.clone();
            spelt["code"] = json!(code as f64);
            let text = spelt.to_string();
            assert!(!is_taken || text.contains(".0"), "{text}");
            messages.push(message(&format!("device.{tag}"), &text));
            reads.push((text.clone(), DeviceFrame::decode(&text).is_ok()));
        }
        for mutated in mutations(&frame).into_iter().filter(|mutated| mutated["type"] == *tag) {
            let text = mutated.to_string();
            let is_read = match is_taken {
                true => DeviceFrame::decode(&text).map(drop),
                false => RelayFrame::decode(&text).map(drop),
            };
            // A phone lives with what it does not know; what the relay takes is exact.
            if is_taken || is_read == Err(FrameError::Invalid) {
                messages.push(message(&format!("device.{tag}"), &text));
                reads.push((text, is_read.is_ok()));
            }
        }
    }
    let what = "the official parser's word on the AsyncAPI document";
    let Some(said) = ask(what, &messages).await else { return };
    assert!(said.complaints.is_empty(), "{:#?}", said.complaints);
    let mut wrong = Vec::new();
    for ((text, is_read), verdict) in reads.iter().zip(&said.verdicts) {
        if *is_read != verdict.is_none() {
            wrong.push(format!("read: {is_read}, schema: {verdict:?}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let refused = reads.iter().filter(|(_, is_read)| !is_read).count();
    assert!(refused > 300, "only {refused} were refused");
}
