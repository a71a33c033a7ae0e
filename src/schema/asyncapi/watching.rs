//! The two roads on which the events of a ceremony are pushed: server-sent events and a socket.

use fido_relay_proto::limits::{TICKET_SUBPROTOCOL, WATCH_SUBPROTOCOL};
use fido_relay_proto::watch::{WatchEnd, WatchEvent};
use serde_json::{Value, json};

use super::messages::message;
use super::{Parts, close_code, close_table, reference};
use crate::schema::components::Components;

const PROGRESS: &str = r#"{"seq":20,"step":"claimed","at":"2026-01-02T03:04:05.678Z","status":"pending","phase":"preparing"}"#;
const CLOSED: &str = r#"{"seq":60,"step":"closed","at":"2026-01-02T03:04:25.331Z","status":"denied","phase":"closed","reason":"not_me"}"#;

/// Both channels, their messages and operations.
pub(super) fn describe(parts: &mut Parts, components: &mut Components) {
    let progress = "A step of the ceremony other than its last.";
    let closed = "The last step, with the outcome. Nothing follows.";
    let event = components.gives::<WatchEvent>();
    let mut add = |name: &str, title: &str, summary: &str, example: &str| {
        let message = message(name, title, summary, &event, &[&told(example)]);
        parts.messages.insert(format!("watch.{name}"), message);
    };
    add("progress", "Progress", progress, PROGRESS);
    add("closed", "Closed", closed, CLOSED);
    events(parts);
    socket(parts);
}

/// An example as the relay would write it.
fn told(example: &str) -> Value {
    match serde_json::from_str::<WatchEvent>(example).and_then(serde_json::to_value) {
        Ok(told) => told,
        Err(error) => unreachable!("{error}: {example}"),
    }
}

fn events(parts: &mut Parts) {
    let channel = json!({
        "address": "/v1/ceremonies/{id}/events",
        "title": "Server-sent events",
        "summary": "The steps of a ceremony as `text/event-stream`.",
        "description": EVENTS,
        "servers": [reference("servers/http")],
        "parameters": parameters(),
        "tags": [{ "name": "watching" }],
        "messages": messages(),
        "x-content-type": "text/event-stream",
        "x-request-headers": {
            "Last-Event-ID": {
                "type": "integer",
                "minimum": 0,
                "description": "Resumes after the event with this `id`. Browsers send it by \
                                themselves when they reconnect; it has precedence over `since`.",
            },
        },
    });
    parts.channels.insert("ceremonyEvents".to_owned(), channel);
    let security = ["bearer", "ticket", "eventTicket"];
    operation(parts, "sendEvents", "ceremonyEvents", "The events as a stream", &security);
    let mut query = since();
    query["properties"]["ticket"] = json!({
        "type": "string",
        "description": "In place of an Authorization header, once.",
    });
    parts.operations["sendEvents"]["bindings"] = json!({
        "http": { "method": "GET", "query": query, "bindingVersion": "0.3.0" },
    });
}

const EVENTS: &str = "\
    Each event has an `id` (its `seq`), a name (`event: progress`, or `closed` for the last one) \
    and the message as its `data`. The stream begins with `retry`, sends the comment `: still here` every 15 seconds, and ends after `closed`. Resume with `Last-Event-ID` or `?since=`: no event is missed or repeated. 204: no event will follow; do not ask again.\n\n\
    A browser's `EventSource` cannot send `Authorization`: the page exchanges its ticket for one that goes into the URL and is valid for one request.";

fn socket(parts: &mut Parts) {
    let codes: Vec<_> = WatchEnd::ALL
        .into_iter()
        .map(|end| close_code(end.code(), end.name(), end.meaning()))
        .collect();
    let offered = WATCH_SUBPROTOCOL.replace('.', "\\.");
    let channel = json!({
        "address": "/v1/ceremonies/{id}/socket",
        "title": "Watchers' socket",
        "summary": "The steps of a ceremony as WebSocket text frames.",
        "description": format!("{SOCKET}\n\n{}", close_table(&codes)),
        "servers": [reference("servers/sockets")],
        "parameters": parameters(),
        "tags": [{ "name": "watching" }],
        "messages": messages(),
        "bindings": { "ws": {
            "method": "GET",
            "query": since(),
            "headers": {
                "type": "object",
                "required": ["Sec-WebSocket-Protocol"],
                "properties": { "Sec-WebSocket-Protocol": {
                    "type": "string",
                    "description": "The socket's own subprotocol, and a page's ticket as another; \
                                    the relay selects the first.",
                    "pattern": format!("(^|, *){offered}( *,|$)"),
                    "examples": [format!("{WATCH_SUBPROTOCOL}, {TICKET_SUBPROTOCOL}tkt_…")],
                } },
            },
            "bindingVersion": "0.1.0",
        } },
        "x-subprotocols": [WATCH_SUBPROTOCOL, format!("{TICKET_SUBPROTOCOL}<ticket>")],
        "x-close-codes": codes,
    });
    parts.channels.insert("ceremonySocket".to_owned(), channel);
    let security = ["bearer", "ticket", "socketTicket"];
    operation(parts, "sendSocketEvents", "ceremonySocket", "The events on a socket", &security);
}

const SOCKET: &str = "\
    Each event is one text frame. A watcher sends no messages: anything but pongs, a few pings and a close ends the socket. Resume with `?since=`. The relay pings every 15 seconds, and \
    closes with 1000 after the outcome.\n\n\
    Close codes:";

fn parameters() -> Value {
    json!({ "id": { "description": "The ceremony (`cer_…`)." } })
}

fn messages() -> Value {
    json!({
        "progress": reference("components/messages/watch.progress"),
        "closed": reference("components/messages/watch.closed"),
    })
}

fn since() -> Value {
    json!({
        "type": "object",
        "properties": { "since": {
            "type": "integer",
            "minimum": 0,
            "description": "The `seq` that the watcher has; later events are sent.",
        } },
    })
}

fn operation(parts: &mut Parts, name: &str, channel: &str, title: &str, security: &[&str]) {
    let secured =
        security.iter().map(|one| reference(&format!("components/securitySchemes/{one}")));
    let among = |one: &str| reference(&format!("channels/{channel}/messages/{one}"));
    parts.operations.insert(
        name.to_owned(),
        json!({
            "action": "send",
            "channel": reference(&format!("channels/{channel}")),
            "title": title,
            "summary": "Every step, in order, until the last.",
            "tags": [{ "name": "watching" }],
            "security": secured.collect::<Vec<_>>(),
            "messages": [among("progress"), among("closed")],
        }),
    );
}
