//! What an initiator's own server is sent (Standard Webhooks 1.0).

use fido_relay_proto::EventId;
use fido_relay_proto::webhook::{
    ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, WebhookBody, WebhookNews,
};
use serde_json::{Value, json};

use super::messages::{Naming, carried, split, title};
use super::{Parts, reference};
use crate::schema::components::Components;

const CHANNEL: &str = "channels/webhooks";

const SENT: [&str; 8] = [
    r#"{"type":"ceremony.closed","data":{"id":"cer_a6-bC0aBPZMwiNp1VYKcnw","type":"approval","outcome":"succeeded","seq":60},"timestamp":"2026-01-02T03:04:05.678Z"}"#,
    r#"{"type":"device.paired","data":{"id":"dev_EiZT2hXq0mGv4z8p1sJ7Qg","username":"ada@example.com"},"timestamp":"2026-01-02T03:04:05.678Z"}"#,
    r#"{"type":"device.revoked","data":{"id":"dev_EiZT2hXq0mGv4z8p1sJ7Qg","username":"ada@example.com"},"timestamp":"2026-01-02T03:04:05.678Z"}"#,
    r#"{"type":"card.registered","data":{"id":"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU","username":"ada@example.com"},"timestamp":"2026-01-02T03:04:05.678Z"}"#,
    r#"{"type":"card.removed","data":{"id":"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU","username":"ada@example.com"},"timestamp":"2026-01-02T03:04:05.678Z"}"#,
    r#"{"type":"card.clone_suspected","data":{"id":"47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU","username":"ada@example.com"},"timestamp":"2026-01-02T03:04:05.678Z"}"#,
    r#"{"type":"user.not_me","data":{"id":"cer_a6-bC0aBPZMwiNp1VYKcnw","username":"ada@example.com"},"timestamp":"2026-01-02T03:04:05.678Z"}"#,
    r#"{"type":"webhook.test","data":{"id":"whk_hq1V0sJt4bE1m3m1uP4wZw"},"timestamp":"2026-01-02T03:04:05.678Z"}"#,
];

/// When each is sent.
const fn when(news: &WebhookNews) -> &'static str {
    match news {
        WebhookNews::CeremonyClosed { .. } => {
            "Once for each ceremony that this client opened, with any outcome. Fetch the ceremony \
             for its result: this message decides nothing."
        }
        WebhookNews::DevicePaired { .. } | WebhookNews::DeviceRevoked { .. } => {
            "For every user of the tenant; needs the scope device:pair."
        }
        WebhookNews::CardRegistered { .. }
        | WebhookNews::CardRemoved { .. }
        | WebhookNews::CardCloneSuspected { .. } => {
            "For every user of the tenant, with the built-in FIDO2 server; needs the scope \
             card:read."
        }
        WebhookNews::UserNotMe { .. } => {
            "An alarm: a ceremony was opened in the name of a user who did not ask for it. \
             `ceremony.closed` with the outcome `denied` is sent as well."
        }
        WebhookNews::Test { .. } => "For every endpoint, whatever its events.",
    }
}

/// The channel, its messages and operations.
pub(super) fn describe(parts: &mut Parts, components: &mut Components) {
    let sent = SENT.map(|text| match serde_json::from_str::<WebhookBody>(text) {
        Ok(body) => body,
        Err(error) => unreachable!("{error}: {text}"),
    });
    let written = |body: &WebhookBody| serde_json::to_value(body).unwrap_or_default();
    let cases = split::<WebhookBody>(
        parts,
        components,
        Components::gives::<WebhookBody>,
        Naming { prefix: "webhook", suffix: "Webhook" },
        &sent.each_ref().map(written),
    );
    for case in &cases {
        let of_it = sent.iter().find(|body| written(body)["type"] == *case.tag);
        let message = &mut parts.messages[&case.key];
        message["description"] = of_it.map(|body| when(&body.news)).into();
        message["headers"] = headers(components);
        parts.operations.insert(
            format!("send{}Webhook", title(&case.tag, "")),
            json!({
                "action": "send",
                "channel": reference(CHANNEL),
                "title": title(&case.tag, " "),
                "summary": case.summary,
                "tags": [{ "name": "webhooks" }],
                "messages": [reference(&format!("{CHANNEL}/messages/{}", case.tag))],
                "bindings": { "http": { "method": "POST", "bindingVersion": "0.3.0" } },
            }),
        );
    }
    parts.channels.insert(
        "webhooks".to_owned(),
        json!({
            "title": "Webhooks",
            "summary": "A POST to the URL that an initiator registered (Standard Webhooks).",
            "description": DESCRIPTION,
            "servers": [reference("servers/endpoint")],
            "tags": [{ "name": "webhooks" }],
            "messages": carried(&cases),
        }),
    );
}

const DESCRIPTION: &str = "\
    At least once, and tried again for 72 hours until the endpoint answers 2xx; 410 ends it for \
    good. Deliveries are not in order; the same `webhook-id` is the same event. A body only names the event and its subject: the result is fetched with the initiator's own credential.\n\n\
    Verify the signature over `{webhook-id}.{webhook-timestamp}.{body}` before anything else, and \
    refuse a timestamp that is more than a few minutes off. `v1a` is Ed25519 by the endpoint's \
    public key (`whpk_…`), `v1` is HMAC-SHA-256 with the shared secret (`whsec_…`).";

fn headers(components: &mut Components) -> Value {
    let id = json!({
        "allOf": [components.gives::<EventId>()],
        "description": "Id of the delivery: the same in every try.",
    });
    json!({
        "type": "object",
        "required": [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER],
        "properties": {
            ID_HEADER: id,
            TIMESTAMP_HEADER: {
                "type": "string",
                "description": "When this try was signed, in seconds since 1970.",
                "pattern": "^[0-9]+$",
            },
            SIGNATURE_HEADER: {
                "type": "string",
                "description": "One signature for each valid key, separated by spaces.",
                "pattern": "^v1a?,[A-Za-z0-9+/=]+( v1a?,[A-Za-z0-9+/=]+)*$",
            },
        },
    })
}
