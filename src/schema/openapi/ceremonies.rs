//! Open, read, cancel; the receipt.

use fido_relay_proto::ProblemCode::{
    AlreadyClosed, BindingNotAllowed, IdempotencyMismatch, Internal, OriginNotAllowed,
    PriorAuthRequired, ScopeMissing, Unprocessable,
};
use fido_relay_proto::http::{CeremonyView, OpenCeremony, OpenedCeremony};
use fido_relay_proto::{CeremonyId, limits};
use serde_json::{Value, json};

use super::call::OpenApiDraft;
use super::examples::{AT, CEREMONY, JWS, TICKET};
use crate::schema::operations::Operation;

pub(super) fn describe(draft: &mut OpenApiDraft) {
    open(draft);
    read(draft);
    draft
        .call(Operation::CancelCeremony, "Cancel a ceremony")
        .says("The phone removes the prompt.")
        .segment::<CeremonyId>("id")
        .gives::<CeremonyView>(200, "Cancelled", &[("cancelled", cancelled())])
        .problems(&[AlreadyClosed]);
    draft
        .call(Operation::ReadReceipt, "Read what the card signed")
        .says(
            "For an auditor years later, where the relay keeps receipts (`receipts = true`). The \
             key is in `/.well-known/jwks.json`. A ceremony without a receipt is not found.",
        )
        .segment::<CeremonyId>("id")
        .gives_as(
            200,
            "A compact JWS (RFC 7515)",
            "application/jose",
            json!({ "type": "string" }),
            &[("receipt", JWS.into())],
        )
        .problems(&[Internal]);
}

fn open(draft: &mut OpenApiDraft) {
    let sign_in = json!({ "type": "authentication", "username": "ada" });
    let approval = json!({
        "type": "approval",
        "username": "ada",
        "prior_auth": "session",
        "transaction": {
            "title": "Payment to Charles",
            "fields": [{ "label": "Amount", "value": "120.00 EUR" }],
        },
        "client_nonce": "order-4711",
    });
    let opened = json!({
        "id": CEREMONY, "status": "pending", "phase": "offered", "code": "493817",
        "ticket": TICKET, "expires_in": 119,
    });
    draft
        .call(Operation::OpenCeremony, "Open a ceremony")
        .says(
            "Registration needs the scope `ceremony:reg`, authentication `ceremony:auth`, approval \
             `ceremony:approve`. 201 means that it is stored. The answer is the same, and takes as \
             long, whether the user exists, has a phone, or has it at hand. 422 where values do not \
             go together: an approval without a transaction, anything else with one, an `rpId` that \
             is not served here.",
        )
        .header(
            "Idempotency-Key",
            "The same key and body within 24 hours give the same ceremony; the same key with \
             another body gives 422.",
            json!({
                "type": "string",
                "minLength": 1,
                "maxLength": 255,
                "pattern": "^[!-~]([\\t -~]*[!-~])?$",
                "examples": ["4f1c6b1e-3b1a-4d0e-9d55-0f0f3f6f7c11"],
            }),
        )
        .takes::<OpenCeremony>(&[("sign_in", sign_in), ("approval", approval)])
        .gives::<OpenedCeremony>(201, "Opened", &[("opened", opened)])
        .with(
            "Location",
            "Where to read it",
            json!({ "type": "string", "format": "uri-reference", "examples": [location()] }),
            true,
        )
        .problems(&[
            ScopeMissing,
            BindingNotAllowed,
            PriorAuthRequired,
            OriginNotAllowed,
            IdempotencyMismatch,
            Unprocessable,
        ]);
}

fn read(draft: &mut OpenApiDraft) {
    let wait = format!(
        "Seconds to hold the answer until there is something new; above {0} it counts as {0}. \
         If nothing new happens in that time, the answer is the current state.",
        limits::WAIT_MAX_S
    );
    draft
        .call(Operation::ReadCeremony, "Read a ceremony, or wait for its next step")
        .says(
            "With `wait` a long poll: give the `seq` of the last answer as `since`. The answer \
             has every step so far: take those that you have not seen. The result token is there \
             when it succeeded, for the client alone, and signed anew at each read. A ticket sees no username, no result, nothing about the card, and not why the person declined. With binding `code`, whether a phone was reached (the steps `sent` and `delivered`) shows only with the scope `presence:read`, and to tickets of a ceremony opened with `show_delivery`: for others these steps change no `seq` and end no wait.",
        )
        .segment::<CeremonyId>("id")
        .query("wait", &wait, number(0))
        .query("since", "The `seq` that the caller knows; without it, the current one", number(0))
        .gives::<CeremonyView>(200, "The current state", &[
            ("pending", pending()),
            ("succeeded", succeeded()),
        ])
        .with(
            "Retry-After",
            "Only when the relay stops: seconds to wait before the next request",
            json!({ "type": "integer", "minimum": 0 }),
            false,
        )
        .problems(&[]);
}

/// A number in a query.
pub(super) fn number(minimum: u32) -> Value {
    json!({ "type": "integer", "format": "int64", "minimum": minimum, "maximum": u32::MAX })
}

fn location() -> String {
    format!("/v1/ceremonies/{CEREMONY}")
}

fn pending() -> Value {
    json!({
        "id": CEREMONY, "type": "authentication", "username": "ada", "status": "pending",
        "phase": "offered", "seq": 10, "progress": [{ "seq": 10, "step": "opened", "at": AT }],
        "expires_in": 119,
    })
}

fn succeeded() -> Value {
    let mut view = pending();
    view["status"] = "succeeded".into();
    view["phase"] = "closed".into();
    view["seq"] = 60.into();
    view["progress"] = json!([
        { "seq": 10, "step": "opened", "at": AT },
        { "seq": 60, "step": "closed", "at": "2026-03-14T09:27:11.042Z" },
    ]);
    view["result"] = JWS.into();
    view["expires_in"] = 0.into();
    view
}

fn cancelled() -> Value {
    let mut view = succeeded();
    view["status"] = "cancelled".into();
    if let Some(view) = view.as_object_mut() {
        view.remove("result");
    }
    view
}
