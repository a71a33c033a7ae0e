//! The device socket: its frames in both directions, which one answers which, how it ends, and
//! what a device signs.

use fido_relay_proto::device::{
    AUTH_TYP, AuthClaims, KEY_POSSESSION_TYP, KEY_ROTATION_TYP, KeyClaims, PAIRING_TYP,
    PairingClaims,
};
use fido_relay_proto::limits::DEVICE_SUBPROTOCOL;
use fido_relay_proto::{DeviceFrame, RelayFrame};
use serde_json::{Value, json};

use super::messages::{Case, Naming, carried, split, title};
use super::{Parts, close_code, close_table, reference};
use crate::core::session::CloseReason;
use crate::schema::components::Components;

/// The channel's place in the document.
const CHANNEL: &str = "channels/deviceSocket";

/// One of each that the relay sends.
const SENT: [&str; 11] = [
    r#"{"type":"hello","nonce":"2riHlxPxhtxjDdZdxbQXHTGkBj1rbM7Ks__U_6ctBac","auth_within_s":9}"#,
    r#"{"type":"welcome","connection_id":"con_DXtXvNinBL4YvtfTTo4ylA","heartbeat_s":25,"reauth_in_s":3288,"limits":{"frame_bytes":32768,"frames_per_s":10,"burst":30}}"#,
    r#"{"type":"offer","ceremony_id":"cer_tOTXVBpj55G4WC5x0saV5A","ceremony_type":"approval","client_name":"Example Bank","rp_id":"bank.example","username":"ada@example.com","display_name":"Ada Lovelace","transaction":{"title":"Payment to Grace Hopper","fields":[{"label":"Amount","value":"120.00 EUR"},{"label":"Reference","value":"Rent"}]},"code_length":6,"expires_in":119}"#,
    r#"{"type":"challenge","ceremony_id":"cer_a6-bC0aBPZMwiNp1VYKcnw","ceremony_type":"authentication","client_name":"Example Bank","rp_id":"bank.example","username":"ada@example.com","display_name":"Ada Lovelace","message":"Sign in to Example Bank","code_length":6,"expires_in":119,"attempt":"att_WjSy8hSeNITWhVK7gc9Xdw","challenge":"efIC0xqlp2fY0_WzvQELkx6yOa8J0Z8FvBXID2K2FuA","origin":"https://bank.example","public_key":{"allowCredentials":[{"id":"CVdYKUWvMraeUa-Zfu1_ayJvd8qN3jG4X9Hi5PRwpLc","type":"public-key"}],"challenge":"efIC0xqlp2fY0_WzvQELkx6yOa8J0Z8FvBXID2K2FuA","rpId":"bank.example"}}"#,
    r#"{"type":"accepted","ceremony_id":"cer_a6-bC0aBPZMwiNp1VYKcnw","attempt":"att_WjSy8hSeNITWhVK7gc9Xdw"}"#,
    r#"{"type":"closed","ceremony_id":"cer_7sUeqSDUSnvnhp0jFx9H1Q","outcome":"failed","reason":"wrong_code"}"#,
    r#"{"type":"error","code":"wrong_code","message":"wrong code, 2 tries left","retryable":false,"ceremony_id":"cer_a6-bC0aBPZMwiNp1VYKcnw"}"#,
    r#"{"type":"reauth","nonce":"3Qm4hM9C0sZCVdGDCfQxXuC9yY6FqkFJvT8gWm0bO2s","auth_within_s":60}"#,
    r#"{"type":"notice","notice_id":"ntc_hq1V0sJt4bE1m3m1uP4wZw","event":"device_paired","device_id":"dev_EiZT2hXq0mGv4z8p1sJ7Qg","name":"Ada's new phone","platform":"android","ago_s":12}"#,
    r#"{"type":"pong","id":"probe-7"}"#,
    r#"{"type":"goaway","reconnect_in_ms":3270}"#,
];

/// One of each that it takes.
const TAKEN: [&str; 7] = [
    r#"{"type":"auth","proof":"eyJhbGciOiJFUzI1NiIsInR5cCI6ImZpZG8tcmVsYXktZGV2aWNlK2p3dCJ9.eyJhdWQiOiIuLi4ifQ.c2lnbmF0dXJl"}"#,
    r#"{"type":"ack","ceremony_id":"cer_a6-bC0aBPZMwiNp1VYKcnw","of":"offer"}"#,
    r#"{"type":"claim","ceremony_id":"cer_a6-bC0aBPZMwiNp1VYKcnw","code":"900553"}"#,
    r#"{"type":"card","ceremony_id":"cer_a6-bC0aBPZMwiNp1VYKcnw","event":"error","code":600}"#,
    r#"{"type":"answer","ceremony_id":"cer_a6-bC0aBPZMwiNp1VYKcnw","attempt":"att_WjSy8hSeNITWhVK7gc9Xdw","credential":{"id":"CVdYKUWvMraeUa-Zfu1_ayJvd8qN3jG4X9Hi5PRwpLc","rawId":"CVdYKUWvMraeUa-Zfu1_ayJvd8qN3jG4X9Hi5PRwpLc","type":"public-key","response":{"authenticatorData":"…","clientDataJSON":"…","signature":"…"}}}"#,
    r#"{"type":"decline","ceremony_id":"cer_a6-bC0aBPZMwiNp1VYKcnw","reason":"not_me"}"#,
    r#"{"type":"ping","id":"probe-7"}"#,
];

/// What a device sends in return, if anything.
fn answers_to(frame: &RelayFrame) -> &'static [&'static str] {
    match frame {
        RelayFrame::Hello { .. } | RelayFrame::Reauth { .. } => &["auth"],
        RelayFrame::Offer(_) => &["ack", "claim", "decline"],
        RelayFrame::Challenge(_) => &["ack", "card", "answer", "decline"],
        RelayFrame::Closed { .. } => &["ack"],
        RelayFrame::Welcome { .. }
        | RelayFrame::Accepted { .. }
        | RelayFrame::Error { .. }
        | RelayFrame::Notice(_)
        | RelayFrame::Pong(_)
        | RelayFrame::Goaway { .. } => &[],
    }
}

/// What the relay sends in return, besides nothing at all.
fn returns(frame: &DeviceFrame) -> &'static [&'static str] {
    match frame {
        DeviceFrame::Auth(_) => &["welcome", "error"],
        DeviceFrame::Ack(_) | DeviceFrame::Card(_) => &["error"],
        DeviceFrame::Claim(_) => &["challenge", "closed", "error", "offer"],
        DeviceFrame::Answer(_) => &["accepted", "error"],
        DeviceFrame::Decline(_) => &["closed", "error"],
        DeviceFrame::Ping(_) => &["pong", "error"],
    }
}

/// The channel, its messages and operations.
pub(super) fn describe(parts: &mut Parts, components: &mut Components) {
    let sent = SENT.map(|text| match RelayFrame::decode(text) {
        Ok(frame) => frame,
        Err(error) => unreachable!("{error}: {text}"),
    });
    let taken = TAKEN.map(|text| match DeviceFrame::decode(text) {
        Ok(frame) => frame,
        Err(error) => unreachable!("{error}: {text}"),
    });
    let from_relay = split::<RelayFrame>(
        parts,
        components,
        Components::gives::<RelayFrame>,
        Naming { prefix: "device", suffix: "Frame" },
        &sent.each_ref().map(json_of),
    );
    let from_device = split::<DeviceFrame>(
        parts,
        components,
        Components::takes::<DeviceFrame>,
        Naming { prefix: "device", suffix: "Frame" },
        &taken.each_ref().map(json_of),
    );
    for (case, frame) in from_relay.iter().zip(in_order(&from_relay, &sent)) {
        operation(parts, "send", case, answers_to(frame));
    }
    for (case, frame) in from_device.iter().zip(in_order(&from_device, &taken)) {
        operation(parts, "receive", case, returns(frame));
    }
    let codes: Vec<_> = CloseReason::ALL
        .into_iter()
        .filter_map(|end| Some(close_code(end.code()?, end.name(), end.meaning())))
        .collect();
    let description = format!("{DESCRIPTION}\n\n{}", close_table(&codes));
    parts.channels.insert(
        "deviceSocket".to_owned(),
        json!({
            "address": "/v1/device/socket",
            "title": "Device socket",
            "summary": "One WebSocket of JSON text frames between the relay and a phone.",
            "description": description,
            "servers": [reference("servers/sockets")],
            "tags": [{ "name": "device" }],
            "messages": carried(from_relay.iter().chain(&from_device)),
            "bindings": { "ws": {
                "method": "GET",
                "headers": {
                    "type": "object",
                    "required": ["Sec-WebSocket-Protocol"],
                    "properties": { "Sec-WebSocket-Protocol": {
                        "type": "string",
                        "description": "Must be among those that the app offers; without it: 426.",
                        "pattern": format!("(^|, *){}( *,|$)", DEVICE_SUBPROTOCOL.replace('.', "\\.")),
                        "examples": [DEVICE_SUBPROTOCOL],
                    } },
                },
                "bindingVersion": "0.1.0",
            } },
            "x-subprotocols": [DEVICE_SUBPROTOCOL],
            "x-close-codes": codes,
            "x-proofs": proofs(components),
        }),
    );
}

const DESCRIPTION: &str = "\
    `hello` → `auth` → `welcome`; then everything that is open for the device is sent again.\n\n\
    With a code: `offer` → `ack` → `claim` → `challenge` → `ack` → `card` → `answer` → `accepted` \
    → `closed` → `ack`. Without one, `challenge` comes first. `closed` may come at any time instead. \
    The same `ceremony_id` and `attempt` are the same prompt; the same answer again gets the same \
    `accepted`. A code that is typed under another ceremony's prompt, or under none (`claim` without \
    `ceremony_id`), gets the `offer` of its own ceremony with `by_code`: once the person confirms, a \
    second `claim` has its id and the code. A frame that is refused gets `error`, and the socket \
    stays.\n\n\
    No `Origin`, no cookies, no `Authorization`: only the proof authenticates a device. The relay \
    pings about every `heartbeat_s` seconds; an app whose platform hides WebSocket pings sends \
    `ping` and gets `pong`. One socket per device, the newest wins.\n\n\
    Close codes:";

/// What a device signs, as compact JWS (RFC 7515) with ES256 by its device key.
fn proofs(components: &mut Components) -> Value {
    let auth = components.takes::<AuthClaims>();
    let pairing = components.takes::<PairingClaims>();
    let key = components.takes::<KeyClaims>();
    let proof = |typ: &str, place: &str, signed_by: &str, claims: &Value| json!({ "typ": typ, "alg": "ES256", "in": place, "signedBy": signed_by, "claims": claims });
    let device_key = "the device key";
    json!([
        proof(AUTH_TYP, "`auth`, `proof`", device_key, &auth),
        proof(PAIRING_TYP, "POST /v1/devices, `proof`", device_key, &pairing),
        proof(KEY_ROTATION_TYP, "POST /v1/device/key, `old_proof`", "the old device key", &key),
        proof(KEY_POSSESSION_TYP, "POST /v1/device/key, `new_proof`", "the new device key", &key),
    ])
}

fn operation(parts: &mut Parts, action: &str, case: &Case, reply: &[&str]) {
    let among = |tag: &str| reference(&format!("{CHANNEL}/messages/{tag}"));
    let mut operation = json!({
        "action": action,
        "channel": reference(CHANNEL),
        "title": title(&case.tag, " "),
        "summary": case.summary,
        "tags": [{ "name": "device" }],
        "messages": [among(&case.tag)],
    });
    if !reply.is_empty() {
        operation["reply"] = json!({
            "channel": reference(CHANNEL),
            "messages": reply.iter().map(|tag| among(tag)).collect::<Vec<_>>(),
        });
    }
    parts.operations.insert(format!("{action}{}", title(&case.tag, "")), operation);
}

fn json_of(frame: &impl serde::Serialize) -> Value {
    serde_json::to_value(frame).unwrap_or_else(|_| unreachable!("frames have a JSON form"))
}

/// The example of each case.
fn in_order<'a, F: serde::Serialize>(cases: &[Case], frames: &'a [F]) -> Vec<&'a F> {
    let of = |case: &Case| frames.iter().find(|frame| json_of(*frame)["type"] == *case.tag);
    let found: Vec<_> = cases.iter().filter_map(of).collect();
    assert_eq!(found.len(), cases.len(), "one example for each case");
    found
}
