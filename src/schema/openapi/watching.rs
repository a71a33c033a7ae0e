//! Server-sent events and sockets, as far as HTTP goes; what they say is `/asyncapi.json`'s.

use fido_relay_proto::CeremonyId;
use fido_relay_proto::ProblemCode::{
    OriginNotAllowed, TooManyRequests, Unavailable, UpgradeRequired,
};
use fido_relay_proto::limits::{DEVICE_SUBPROTOCOL, WATCH_SUBPROTOCOL};
use fido_relay_proto::watch::{EventTicket, WatchEvent};
use serde_json::{Value, json};

use super::call::{OpenApiDraft, constant};
use super::ceremonies::number;
use crate::schema::operations::Operation;

pub(super) fn describe(draft: &mut OpenApiDraft) {
    events(draft);
    draft
        .call(Operation::ExchangeTicket, "Get a ticket for one request of the events")
        .says("For `EventSource`, which sends no `Authorization` header. It has a page's rights.")
        .segment::<CeremonyId>("id")
        .gives::<EventTicket>(
            201,
            "Issued",
            &[("issued", json!({ "ticket": "evt_…", "expires_in": 30 }))],
        )
        .problems(&[]);
    draft
        .call(Operation::OpenWatchSocket, "Watch a ceremony over a WebSocket")
        .says(
            "A WebSocket handshake (RFC 6455). A page without headers of its own offers \
             `ticket.<ticket>` as a second subprotocol. Only the relay sends messages.",
        )
        .segment::<CeremonyId>("id")
        .query("since", "The `seq` that the watcher has: only later events are sent", number(0))
        .header("Last-Event-ID", "The same; it has precedence over `since`", number(0))
        .header(
            "Sec-WebSocket-Protocol",
            "The subprotocol of the socket; 426 without it",
            subprotocol(WATCH_SUBPROTOCOL),
        )
        .gives_nothing(101, "A socket")
        .with("Sec-WebSocket-Protocol", "The agreed subprotocol", constant(WATCH_SUBPROTOCOL), true)
        .problems(&[UpgradeRequired]);
    draft
        .call(Operation::OpenDeviceSocket, "A phone's socket")
        .says(
            "A WebSocket handshake (RFC 6455). The phone authenticates in its first frame. Off \
             loopback it requires TLS: 426 also means that TLS is missing.",
        )
        .header(
            "Sec-WebSocket-Protocol",
            "The subprotocol of the socket; 426 without it",
            subprotocol(DEVICE_SUBPROTOCOL),
        )
        .gives_nothing(101, "A socket")
        .with(
            "Sec-WebSocket-Protocol",
            "The agreed subprotocol",
            constant(DEVICE_SUBPROTOCOL),
            true,
        )
        .problems(&[OriginNotAllowed, UpgradeRequired, TooManyRequests, Unavailable]);
}

fn events(draft: &mut OpenApiDraft) {
    let data = draft.given_schema_of::<WatchEvent>();
    let event = json!({
        "type": "object",
        "description": "One event of the stream.",
        "required": ["id", "event", "data"],
        "properties": {
            "id": { "type": "string", "pattern": "^[0-9]+$" },
            "event": { "type": "string", "enum": ["progress", "closed"] },
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": data,
            },
        },
    });
    let event = draft.named("ServerSentEvent", event);
    draft
        .call(Operation::WatchCeremony, "Watch a ceremony by server-sent events")
        .says(
            "One event for each step, with its `seq` as `id`; the last is named `closed` and ends \
             the stream. A comment every 15 s keeps the connection alive. Two credentials in \
             one request are refused.",
        )
        .segment::<CeremonyId>("id")
        .query("since", "The `seq` that the watcher has: only later events are sent", number(0))
        .header(
            "Last-Event-ID",
            "The same, sent by a browser that reconnects; it has \
                                  precedence",
            number(0),
        )
        .gives_as(200, "Events (HTML standard, section 9.2)", "text/event-stream", event, &[])
        .gives_nothing(204, "No more events will follow: do not reconnect")
        .problems(&[]);
}

fn subprotocol(name: &str) -> Value {
    json!({ "type": "string", "examples": [name] })
}
