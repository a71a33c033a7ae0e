//! The OpenAPI 3.1 document of the HTTP interface: one file for each noun, in the order in which a
//! reader meets them. An operation of the table that is not described fails a test, and so does an
//! answer of the relay that no description has.

mod call;
mod cards;
mod ceremonies;
mod client_direct;
mod devices;
mod examples;
mod pull;
mod service;
mod tokens;
mod users;
mod watching;
mod webhooks;

#[cfg(test)]
mod tests;

use fido_relay_proto::http::Scope;
use serde_json::{Map, Value, json};

use self::call::OpenApiDraft;

/// Statements about every call.
const ABOUT: &str = "Relays FIDO2 ceremonies from a web page to a card that only the user's phone \
can read. A backend opens a ceremony, the page shows its code, the person types it into the app and \
holds the card to the phone; the backend then reads one outcome and a signed result.

Bodies are JSON objects without content encoding, at most 64 KiB (unless the operator says otherwise), 8 levels and 64 keys (under `/fidoapi` 256); unknown \
fields are refused in requests and may be added to answers. Errors are problems of RFC 9457 with a \
stable `code`: go by it, not by the texts. `code`, `reason` and `step` may gain values: \
treat one that you do not know like any other of its status. Answers are not to be cached unless they say so. `HEAD` \
is answered as `GET` without a body; any other method than those here is 405 `method_not_allowed` \
with `Allow`, any other path 404 `not_found`. A relay short of places answers 503 with `Retry-After` \
to whatever is new.

Somebody else's ceremony, device or webhook is not found, like one that never was. An initiator's \
credential is refused (403 `origin_not_allowed`) in a request with an `Origin` header: it must not be \
in a page. Pages have tickets, and the origins that a client lists are answered by CORS on the \
watching calls.

Sockets, server-sent events and webhooks are described in `/asyncapi.json`.";

#[must_use]
pub fn document() -> Value {
    let mut draft = OpenApiDraft::new();
    ceremonies::describe(&mut draft);
    watching::describe(&mut draft);
    devices::describe(&mut draft);
    pull::describe(&mut draft);
    cards::describe(&mut draft);
    users::describe(&mut draft);
    webhooks::describe(&mut draft);
    tokens::describe(&mut draft);
    client_direct::describe(&mut draft);
    service::describe(&mut draft);
    let (paths, responses, schemas) = draft.finish();
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "fido-relay",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "FIDO2 ceremonies with a card on the user's phone",
            "description": ABOUT,
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "servers": [{ "url": "/", "description": "The relay that serves this document" }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "securitySchemes": security_schemes(),
        },
    })
}

fn tags() -> Value {
    json!([
        { "name": "ceremonies", "description": "Open, read, cancel" },
        { "name": "watching", "description": "Wait for steps and the outcome" },
        { "name": "devices", "description": "Phones: pairing, list, key, revocation" },
        { "name": "phones", "description": "Calls of a phone without a socket, and its push \
                                            address" },
        { "name": "cards", "description": "Cards: list, removal" },
        { "name": "users", "description": "Why a user's phone does not ring, and how to lift \
                                           that" },
        { "name": "webhooks", "description": "Endpoints that receive events" },
        { "name": "access", "description": "Tokens, keys, scopes" },
        {
            "name": "client-direct",
            "description": "The FIDO2 server's own REST interface, where it is switched on"
        },
        { "name": "service", "description": "Health, and these documents" },
    ])
}

fn security_schemes() -> Value {
    let about = |scope: Scope| match scope {
        Scope::CeremonyAuth => "open sign-ins",
        Scope::CeremonyReg => "open registrations",
        Scope::CeremonyApprove => "open approvals",
        Scope::CeremonyRead => "read, watch and cancel what the client opened",
        Scope::DevicePair => "pair, list and rename devices",
        Scope::DeviceRevoke => "revoke devices",
        Scope::CardRead => "list users' cards",
        Scope::CardRevoke => "remove users' cards",
        Scope::PresenceRead => "see whether a device is connected and has a prompt",
        Scope::WebhookAdmin => "manage webhooks",
        Scope::UvWeaken => "open sign-ins that do not require user verification",
        Scope::UserUnlock => "lift the limits that hold back its own prompts",
        Scope::PriorAuthAssert => "make its `prior_auth` count",
    };
    let scopes: Map<_, _> =
        Scope::ALL.iter().map(|scope| (scope.as_str().to_owned(), about(*scope).into())).collect();
    json!({
        "apiKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "A client's API key (`fido-relay client create`), only for backends.",
        },
        "accessToken": {
            "type": "oauth2",
            "description": "A client with a key pair signs an assertion (`private_key_jwt`, RFC \
                            7523) and gets an access token for ten minutes.",
            "flows": { "clientCredentials": { "tokenUrl": "/oauth/token", "scopes": scopes } },
        },
        "dpop": {
            "type": "http",
            "scheme": "dpop",
            "description": "A device: a JWS by its key over method, URL, body and the relay's nonce, \
                in the manner of RFC 9449, as the device protocol describes.",
        },
        "ticket": {
            "type": "http",
            "scheme": "bearer",
            "description": "The `ticket` of an opened ceremony: for a page, that ceremony alone, \
                reading alone, until 60 s after the end. On the socket also as the subprotocol \
                `ticket.<ticket>`.",
        },
        "eventTicket": {
            "type": "apiKey",
            "in": "query",
            "name": "ticket",
            "description": "A ticket for one request of a ceremony's events, for `EventSource`, \
                which sends no headers.",
        },
    })
}
