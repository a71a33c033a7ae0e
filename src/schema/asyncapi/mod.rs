//! The AsyncAPI 3.0 document of sockets, server-sent events and webhooks, from the relay's own
//! point of view: it *sends* what others receive.
//!
//! One message per type of frame, event and webhook, split out of the derived schema of the type
//! that the relay writes and reads with. The prose of a channel is next to that channel. Schemas
//! are those that AsyncAPI itself prescribes (JSON Schema draft 07).

mod frames;
mod messages;
mod watching;
mod webhooks;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use self::messages::draft07;
use super::components::Components;

/// The document.
///
/// # Panics
/// If a type of the wire has a case that nothing is said of; the tests make every document.
#[must_use]
pub fn document() -> Value {
    let mut parts = Parts::default();
    let mut components = Components::new();
    frames::describe(&mut parts, &mut components);
    watching::describe(&mut parts, &mut components);
    webhooks::describe(&mut parts, &mut components);
    let mut schemas = components.finish();
    // Each case has a name of its own; the types that they came from would say the same again.
    for split in parts.split {
        schemas.remove(&split);
    }
    schemas.extend(parts.schemas);
    let mut schemas = Value::Object(schemas);
    draft07(&mut schemas);
    json!({
        "asyncapi": "3.0.0",
        "id": "urn:fido-relay",
        "info": {
            "title": "fido-relay",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
            "tags": [
                { "name": "device", "description": "The app on the user's phone" },
                { "name": "watching", "description": "A watcher that waits for an outcome" },
                { "name": "webhooks", "description": "Events that the relay sends to an \
                                                      initiator's server" },
            ],
        },
        "defaultContentType": "application/json",
        "servers": servers(),
        "channels": parts.channels,
        "operations": parts.operations,
        "components": {
            "messages": parts.messages,
            "schemas": schemas,
            "securitySchemes": security_schemes(),
        },
    })
}

const DESCRIPTION: &str = "\
    Messages outside of single HTTP calls (those are in the OpenAPI document): the device socket of the app, the events of a ceremony for its watchers, and webhooks.\n\n\
    `send` and `receive` are meant from the relay's side: it sends what an app or a watcher receives. Receivers \
    ignore types and fields that they do not know; fields that are not required are left out, \
    never `null`. `code`, `reason` and `step` may gain values.";

/// What the descriptions of the channels add to the document.
#[derive(Debug, Default)]
struct Parts {
    channels: Map<String, Value>,
    operations: Map<String, Value>,
    messages: Map<String, Value>,
    /// Schemas of single cases.
    schemas: Map<String, Value>,
    /// Names of the types that were taken apart into those.
    split: Vec<String>,
}

fn servers() -> Value {
    let host = json!({
        "host": { "description": "The address of this relay.", "default": "relay.example" },
    });
    json!({
        "sockets": {
            "host": "{host}",
            "protocol": "wss",
            "protocolVersion": "13",
            "description": "WebSocket (RFC 6455) over TLS. No extension is negotiated.",
            "variables": host,
        },
        "http": {
            "host": "{host}",
            "protocol": "https",
            "description": "Server-sent events (HTML standard, section 9.2).",
            "variables": host,
        },
        "endpoint": {
            "host": "{endpoint}",
            "protocol": "https",
            "description": "The initiator's own server, as registered by POST /v1/webhooks.",
            "variables": {
                "endpoint": { "description": "Its host.", "default": "bank.example" },
            },
        },
    })
}

fn security_schemes() -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "The initiator's API key or access token, with the scope ceremony:read.",
        },
        "ticket": {
            "type": "http",
            "scheme": "bearer",
            "description": "The ticket of one ceremony (`tkt_…`), from the opening: read-only, and \
                            valid until 60 s after the end.",
        },
        "socketTicket": {
            "type": "httpApiKey",
            "in": "header",
            "name": "Sec-WebSocket-Protocol",
            "description": "The same ticket for a browser's socket, which cannot send \
                            Authorization: offered as the subprotocol `ticket.<ticket>`, together \
                            with the socket's own.",
        },
        "eventTicket": {
            "type": "httpApiKey",
            "in": "query",
            "name": "ticket",
            "description": "For a browser's EventSource: valid for one request, from \
                POST /v1/ceremonies/{id}/events/ticket.",
        },
    })
}

/// A reference to something in this document.
fn reference(path: &str) -> Value {
    json!({ "$ref": format!("#/{path}") })
}

/// The documentation of each close code.
fn close_code(code: u16, name: &str, meaning: &str) -> Value {
    json!({ "code": code, "reason": name, "meaning": meaning })
}

/// A table of close codes for a description.
fn close_table(codes: &[Value]) -> String {
    let rows = codes.iter().map(|each| {
        let meaning = each["meaning"].as_str().unwrap_or_default();
        let reason = each["reason"].as_str().unwrap_or_default();
        format!("\n| {} | `{reason}` | {meaning} |", each["code"])
    });
    format!("| code | reason | meaning |\n| --- | --- | --- |{}", rows.collect::<String>())
}
