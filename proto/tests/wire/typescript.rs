//! The wire in TypeScript: `clients/js/src/frames.ts` is made from this crate's own types and
//! samples, and its compiler holds every sample to it. Whoever changes the wire finds both files
//! out of date here, with the new ones beside the build.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use fido_relay_proto::device::{
    AckOf, CardEvent, DeclineReason, FrameErrorCode, NoticeEvent, Offer,
};
use fido_relay_proto::http::{BrowserContext, Platform, Status};
use fido_relay_proto::watch::WatchEvent;
use fido_relay_proto::{CeremonyType, DeviceFrame, Outcome, Phase, Reason, RelayFrame, Step};
use serde::Deserialize;
use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, Visitor};
use serde_json::{Map, Value};

use super::samples::{challenge, device_frames, full_offer, relay_frames};

/// Asks a type for the names of its variants, instead of giving it one of them.
struct Variants<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Variants<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("this type is no plain enum"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = variants;
        Err(Error::custom("asked, and not decoded"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Every name that a closed vocabulary has on the wire.
fn variants<T: for<'de> Deserialize<'de>>() -> Vec<String> {
    let mut found: &[&str] = &[];
    assert!(T::deserialize(Variants(&mut found)).is_err());
    assert!(!found.is_empty());
    found.iter().map(|name| (*name).to_owned()).collect()
}

/// Reasons are spelt by hand: one of them carries a number.
const REASONS: [Reason; 18] = [
    Reason::Declined,
    Reason::NotMe,
    Reason::WrongCode,
    Reason::Deadline,
    Reason::SessionExpired,
    Reason::PinFailed,
    Reason::PinNotSet,
    Reason::AlreadyRegistered,
    Reason::CloneSuspected,
    Reason::NoCredential,
    Reason::CardFull,
    Reason::CardLimit,
    Reason::Card(605),
    Reason::UpstreamRejected,
    Reason::UpstreamUnavailable,
    Reason::UpstreamFull,
    Reason::UpstreamUnknown,
    Reason::Interrupted,
];

/// A reason that is not among [`REASONS`] does not compile here until somebody has added it.
fn spelt(reason: Reason) -> String {
    match reason {
        Reason::Card(_) => "`card_${number}`".to_owned(),
        Reason::Declined
        | Reason::NotMe
        | Reason::WrongCode
        | Reason::Deadline
        | Reason::SessionExpired
        | Reason::PinFailed
        | Reason::PinNotSet
        | Reason::AlreadyRegistered
        | Reason::CloneSuspected
        | Reason::NoCredential
        | Reason::CardFull
        | Reason::CardLimit
        | Reason::UpstreamRejected
        | Reason::UpstreamUnavailable
        | Reason::UpstreamFull
        | Reason::UpstreamUnknown
        | Reason::Interrupted => quoted(&reason.code()),
    }
}

/// The type of each relay's frame; a new one does not compile until it has a sample.
fn name_of(frame: &RelayFrame) -> &'static str {
    match frame {
        RelayFrame::Hello { .. } => "hello",
        RelayFrame::Welcome { .. } => "welcome",
        RelayFrame::Offer(_) => "offer",
        RelayFrame::Challenge(_) => "challenge",
        RelayFrame::Accepted { .. } => "accepted",
        RelayFrame::Closed { .. } => "closed",
        RelayFrame::Error { .. } => "error",
        RelayFrame::Reauth { .. } => "reauth",
        RelayFrame::Notice(_) => "notice",
        RelayFrame::Pong(_) => "pong",
        RelayFrame::Goaway { .. } => "goaway",
    }
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// Fields whose strings are of a vocabulary, by frame where the same name means several.
fn vocabulary(frame: &str, field: &str) -> Option<&'static str> {
    Some(match (frame, field) {
        (_, "ceremony_type") => "CeremonyType",
        (_, "outcome") => "Outcome",
        (_, "platform") => "Platform",
        ("closed" | "watch", "reason") => "Open<Reason>",
        ("decline", "reason") => "DeclineReason",
        ("error", "code") => "Open<FrameErrorCode>",
        ("ack", "of") => "AckOf",
        ("card", "event") => "CardEvent",
        ("card", "code") => "number | \"already_registered\" | \"pin_not_set\"",
        ("notice", "event") => "Open<NoticeEvent>",
        ("watch", "step") => "Open<Step>",
        ("watch", "phase") => "Open<Phase>",
        ("watch", "status") => "Open<Status>",
        (_, "public_key" | "credential") => "JsonObject",
        _ => return None,
    })
}

/// The members of what all these samples are, indented so deep.
fn members(frame: &str, samples: &[&Map<String, Value>], indent: usize) -> String {
    let keys: BTreeSet<&String> = samples.iter().flat_map(|sample| sample.keys()).collect();
    let (tag, fields): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| *key == "type");
    let mut text = String::new();
    for key in tag.into_iter().chain(fields) {
        let values: Vec<&Value> = samples.iter().filter_map(|sample| sample.get(key)).collect();
        let optional = if values.len() == samples.len() { "" } else { "?" };
        let of = type_of(frame, key, &values, indent);
        writeln!(text, "{}{key}{optional}: {of};", " ".repeat(indent)).unwrap();
    }
    text
}

fn type_of(frame: &str, key: &str, values: &[&Value], indent: usize) -> String {
    if key == "type" {
        return quoted(frame);
    }
    if let Some(named) = vocabulary(frame, key) {
        return named.to_owned();
    }
    match values[0] {
        Value::String(_) => "string".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::Bool(_) => "boolean".to_owned(),
        Value::Object(_) => {
            let objects: Vec<_> = values.iter().filter_map(|value| value.as_object()).collect();
            let inner = members(frame, &objects, indent + 2);
            format!("{{\n{inner}{}}}", " ".repeat(indent))
        }
        Value::Array(_) => {
            let items: Vec<_> =
                values.iter().filter_map(|value| value.as_array()).flatten().collect();
            format!("Array<{}>", type_of(frame, "", &items, indent))
        }
        Value::Null => panic!("{frame}.{key}: optional fields are left out, never null"),
    }
}

/// `hello` as `HelloFrame`.
fn interface(tag: &str) -> String {
    format!("{}{}Frame", tag[..1].to_uppercase(), &tag[1..])
}

fn declared(union: &str, says: &str, frames: &[String], text: &mut String) {
    let frames: Vec<Map<String, Value>> =
        frames.iter().map(|frame| serde_json::from_str(frame).unwrap()).collect();
    let mut tags: Vec<&str> = Vec::new();
    for tag in frames.iter().map(|frame| frame["type"].as_str().unwrap()) {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    for tag in &tags {
        let samples: Vec<_> = frames.iter().filter(|frame| frame["type"] == **tag).collect();
        let members = members(tag, &samples, 2);
        writeln!(text, "export interface {} {{\n{members}}}\n", interface(tag)).unwrap();
    }
    let all: Vec<_> = tags.iter().map(|tag| interface(tag)).collect();
    writeln!(text, "/** {says} */\nexport type {union} = {};\n", all.join(" | ")).unwrap();
}

fn watch_samples() -> Vec<String> {
    let closed = [("status", "succeeded"), ("phase", "closed"), ("step", "closed")];
    let mut event = serde_json::json!({
        "seq": 1, "step": "opened", "at": "2026-01-31T12:00:00.042Z", "status": "pending",
        "phase": "offered",
    });
    let bare = event.clone();
    for (key, value) in closed.into_iter().chain([("reason", "not_me")]) {
        event[key] = value.into();
    }
    // As the relay writes them, so that no field is forgotten here.
    let events = [bare, event].map(|event| serde_json::from_value::<WatchEvent>(event).unwrap());
    events.iter().map(|event| serde_json::to_string(event).unwrap()).collect()
}

fn types(relay: &[String], device: &[String]) -> String {
    let mut text = String::from(
        "// Made from the relay's own types by proto/tests/wire/typescript.rs. Not to be edited.\n\n\
         /** The known values, and later values of a newer relay. */\n\
         export type Open<Known extends string> = Known | (string & {});\n\n\
         /** JSON from another party. */\n\
         export type JsonObject = { [name: string]: unknown };\n\n",
    );
    let vocabularies: BTreeMap<&str, Vec<String>> = [
        ("AckOf", variants::<AckOf>()),
        ("CardEvent", variants::<CardEvent>()),
        ("CeremonyType", variants::<CeremonyType>()),
        ("DeclineReason", variants::<DeclineReason>()),
        ("FrameErrorCode", variants::<FrameErrorCode>()),
        ("NoticeEvent", variants::<NoticeEvent>()),
        ("Outcome", variants::<Outcome>()),
        ("Phase", variants::<Phase>()),
        ("Platform", variants::<Platform>()),
        ("Step", variants::<Step>()),
    ]
    .into();
    for (name, variants) in &vocabularies {
        let variants: Vec<_> = variants.iter().map(|name| quoted(name)).collect();
        writeln!(text, "export type {name} =\n  | {};\n", variants.join("\n  | ")).unwrap();
    }
    let reasons = REASONS.map(spelt);
    writeln!(text, "export type Reason =\n  | {};\n", reasons.join("\n  | ")).unwrap();
    let pending = serde_json::to_string(&Status::Pending).unwrap();
    writeln!(text, "export type Status = {pending} | Outcome;\n").unwrap();
    declared("RelayFrame", "What the relay says to a device.", relay, &mut text);
    declared("DeviceFrame", "What a device says to the relay.", device, &mut text);
    let events: Vec<Map<String, Value>> =
        watch_samples().iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let members = members("watch", &events.iter().collect::<Vec<_>>(), 2);
    writeln!(text, "/** One step of a ceremony, the same on every road. */").unwrap();
    writeln!(text, "export interface WatchEvent {{\n{members}}}").unwrap();
    text
}

fn samples(relay: &[String], device: &[String]) -> String {
    let list = |name: &str, of: &str, samples: &[String]| {
        format!("export const {name}: {of}[] = [\n  {},\n];\n", samples.join(",\n  "))
    };
    format!(
        "// Frames as they go over the wire, made by proto/tests/wire/typescript.rs: the compiler\n\
         // holds them to the types. Not to be edited.\n\
         import type {{ DeviceFrame, RelayFrame, WatchEvent }} from \"../../src/frames.js\";\n\n\
         {}\n{}\n{}",
        list("relayFrames", "RelayFrame", relay),
        list("deviceFrames", "DeviceFrame", device),
        list("watchEvents", "WatchEvent", &watch_samples()),
    )
}

/// Holds a file of the client to what it must be, and leaves the right one beside the build.
fn holds(path: &str, text: &str) {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/js").join(path);
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join(ours.file_name().unwrap());
    std::fs::write(&made, text).unwrap();
    let found = std::fs::read_to_string(&ours).unwrap_or_default();
    assert!(found == text, "out of date: cp {} clients/js/{path}", made.display());
}

/// The frozen frames, and what an offer may leave out besides.
fn frames() -> Vec<RelayFrame> {
    let offer = Offer { context: Some(BrowserContext::default()), ..full_offer() };
    let more = [
        RelayFrame::Offer(Box::new(offer.clone())),
        RelayFrame::Challenge(Box::new(challenge(offer))),
    ];
    relay_frames().into_iter().chain(more).collect()
}

#[test]
fn the_types_of_the_typescript_client_are_those_of_the_wire() {
    let relay: Vec<_> = frames().iter().map(RelayFrame::encode).collect();
    let device: Vec<_> = device_frames().iter().map(DeviceFrame::encode).collect();
    holds("src/frames.ts", &types(&relay, &device));
}

#[test]
fn the_compiler_of_the_typescript_client_is_given_every_frame() {
    let frames = frames();
    let named: BTreeSet<_> = frames.iter().map(name_of).collect();
    assert_eq!(named.len(), 11, "one of every kind: {named:?}");
    let relay: Vec<_> = frames.iter().map(RelayFrame::encode).collect();
    let device: Vec<_> = device_frames().iter().map(DeviceFrame::encode).collect();
    holds("test/unit/samples.ts", &samples(&relay, &device));
}
