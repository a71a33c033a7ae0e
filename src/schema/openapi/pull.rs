//! What a phone does without a socket. Its frames are described where the socket's are, in the
//! AsyncAPI document: here they are objects with a `type`.

use fido_relay_proto::CeremonyId;
use fido_relay_proto::ProblemCode::{
    Internal, NotFound, NotSupported, Unprocessable, UnsupportedMediaType,
};
use fido_relay_proto::http::SetPush;
use fido_relay_proto::limits::WAIT_MAX_S;
use serde_json::{Value, json};

use super::call::{Call, OpenApiDraft, constant};
use super::examples::CEREMONY;
use crate::schema::operations::Operation;

const JSON: &str = "application/json";
/// Holds for every operation here, and is described at the first.
const PROOF: &str = "Each request carries a proof of its own (`Authorization: DPoP …`), over the \
                     `DPoP-Nonce` of the previous answer. Every error of the proof is the same 401 \
                     with a nonce: repeat once. Every answer has a `DPoP-Nonce`, also an error.";
const SAME: &str = "Proof and nonce are those of `pullCeremonies`.";

pub(super) fn describe(draft: &mut OpenApiDraft) {
    let frame = frame(draft);
    look(draft, &frame);
    let said = draft
        .call(Operation::ActOnCeremony, "Send a device frame")
        .says(&format!(
            "The body is the frame as on a socket; its `type` and `ceremony_id` are those of the \
             path. The answer is the frame that a socket would send, or 204; the status of an \
             `error` follows from its `code`. {SAME}"
        ))
        .segment::<CeremonyId>("id")
        .segment_of(
            "act",
            json!({
                "type": "string", "enum": ["ack", "claim", "card", "answer", "decline"],
            }),
        );
    let ack = json!({ "type": "ack", "ceremony_id": CEREMONY, "of": "offer" });
    answers(said.takes_as(JSON, frame.clone(), &[("ack", ack)]), &frame);
    let claimed = draft
        .call(Operation::ClaimByCode, "Claim by code alone")
        .says(&format!("A `claim` without a `ceremony_id`. {SAME}"));
    let code = json!({ "type": "claim", "code": "900553", "claim_id": "q7Zp.3" });
    answers(claimed.takes_as(JSON, frame.clone(), &[("code", code)]), &frame);
    let declined = draft
        .call(Operation::DeclineHeld, "Say \"not me\" to suppressed prompts")
        .says(&format!("A `decline` without a `ceremony_id`. {SAME}"));
    let not_me = json!({ "type": "decline", "reason": "not_me" });
    answers(declined.takes_as(JSON, frame.clone(), &[("not_me", not_me)]), &frame);
    let fcm = json!({ "push": { "service": "fcm", "token": "registration-token" } });
    let call = draft
        .call(Operation::SetPushAddress, "Set the push address")
        .says(&format!(
            "Replaces the previous address; `null` removes it. An address belongs to one device: \
             another device loses it. 501: no push service is configured. {SAME}"
        ))
        .takes::<SetPush>(&[("fcm", fcm)])
        .gives_nothing(204, "Set");
    refusals(call).problems(&[Unprocessable, Internal, NotSupported]);
}

fn look(draft: &mut OpenApiDraft, frame: &Value) {
    let offer = json!({ "type": "closed", "ceremony_id": CEREMONY, "outcome": "cancelled" });
    let pulled = draft.named(
        "Pulled",
        json!({
            "type": "object",
            "description": "The frames that a socket would have sent.",
            "required": ["frames", "state"],
            "properties": {
                "frames": { "type": "array", "items": frame },
                "state": { "type": "string", "description": "What `since` takes" },
            },
        }),
    );
    let wait =
        format!("Seconds to hold the answer until the state is not `since`; at most {WAIT_MAX_S}");
    let (text, number) =
        (json!({ "type": "string", "maxLength": 64 }), json!({ "type": "integer", "minimum": 0 }));
    let shown = "Ids of ceremonies that the app shows, at most 16, separated by commas: the answer \
                 reports those that are no longer this device's";
    let call = draft
        .call(Operation::PullCeremonies, "Read a phone's prompts")
        .says(&format!(
            "`offer` and `challenge` of open prompts, `closed` and `error` of prompts in `shown` \
             that ended, and notices. A new request of the phone ends the wait of an earlier one. \
             {PROOF}"
        ))
        .query("wait", &wait, number)
        .query("since", "The `state` of the last answer", text)
        .query("shown", shown, json!({ "type": "string", "maxLength": 511 }))
        .gives_as(
            200,
            "The phone's prompts",
            JSON,
            pulled,
            &[("closed", json!({ "frames": [offer], "state": "Zm9vYmFyYmF6cXV4cXV1eA" }))],
        )
        .with(
            "Retry-After",
            "The relay restarts: seconds to wait before the next request",
            json!({ "type": "integer", "minimum": 0 }),
            false,
        );
    refusals(call).problems(&[]);
}

/// A frame in either direction.
fn frame(draft: &mut OpenApiDraft) -> Value {
    draft.named(
        "DeviceSocketFrame",
        json!({
            "type": "object",
            "description": "A frame of the device socket, as described in `/asyncapi.json` and the \
                            device protocol.",
            "required": ["type"],
            "properties": { "type": { "type": "string" } },
            "additionalProperties": true,
        }),
    )
}

/// What a frame is answered with.
fn answers(call: Call<'_>, frame: &Value) {
    let offer_or_accepted = [(
        "accepted",
        json!({ "type": "accepted", "ceremony_id": CEREMONY, "attempt": "att_WjSy8hSeNITWhVK7gc9Xdw" }),
    )];
    let error = |code: &str, message: &str, retryable: bool| {
        let error = json!({
            "type": "error", "code": code, "message": message, "retryable": retryable,
            "ceremony_id": CEREMONY,
        });
        [("frame", error)]
    };
    let about = "A frame of a ceremony, or an unknown resource";
    let seconds = || json!({ "type": "integer", "minimum": 0 });
    let again = "Seconds to wait before the next request";
    let call = call
        .gives_as(200, "`offer` or `accepted`", JSON, frame.clone(), &offer_or_accepted)
        .gives_nothing(204, "Accepted without a reply")
        .gives_as(
            400,
            "Not a frame, or not the frame of the path",
            JSON,
            frame.clone(),
            &error("invalid_frame", "the frame is malformed", false),
        )
        .gives_as(
            403,
            "`device_locked`",
            JSON,
            frame.clone(),
            &error("device_locked", "this device is locked", false),
        )
        .gives_as(
            404,
            about,
            JSON,
            frame.clone(),
            &error("unknown_ceremony", "no such ceremony", false),
        )
        .gives_as(
            409,
            "Too late, or not this device's turn",
            JSON,
            frame.clone(),
            &error("already_closed", "the ceremony is closed", false),
        )
        .gives_as(
            422,
            "A malformed or wrong code",
            JSON,
            frame.clone(),
            &error("wrong_code", "wrong code, 2 tries left", false),
        )
        .gives_as(
            429,
            "`too_many_codes`, or too many requests",
            JSON,
            frame.clone(),
            &error("too_many_codes", "too many wrong codes", false),
        )
        .with("Retry-After", again, seconds(), true)
        .gives_as(
            503,
            "The relay could not store it; nothing has changed",
            JSON,
            frame.clone(),
            &error("unavailable", "try again", true),
        )
        .with("Retry-After", again, seconds(), true);
    refusals(call).problems(&[NotFound, UnsupportedMediaType, Internal]);
}

/// The 401 of these calls, and the nonce of every answer.
fn refusals(call: Call<'_>) -> Call<'_> {
    let nonce = json!({ "type": "string" });
    call.gives_nothing(401, "The proof was not accepted: repeat once with the nonce")
        .with("WWW-Authenticate", "RFC 9449", constant(r#"DPoP error="use_dpop_nonce""#), true)
        .with_all("DPoP-Nonce", "RFC 9449: for the next proof, for five minutes", &nonce)
}
