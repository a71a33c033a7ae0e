//! Endpoints that receive events, and what has not reached them.

use fido_relay_proto::ProblemCode::{Internal, NotFound, Unprocessable};
use fido_relay_proto::webhook::{
    ChangeWebhook, CreateWebhook, CreatedWebhook, DeliveryList, DeliveryState, RotateWebhook,
    TestedWebhook, WebhookList, WebhookView,
};
use fido_relay_proto::{EventId, WebhookId};
use serde_json::{Value, json};

use super::call::OpenApiDraft;
use super::examples::{AT, EVENT, WEBHOOK};
use crate::schema::operations::Operation;

pub(super) fn describe(draft: &mut OpenApiDraft) {
    let order = json!({ "url": "https://shop.example.com/hooks", "events": ["ceremony.closed"] });
    draft
        .call(Operation::CreateWebhook, "Register an endpoint")
        .says(
            "On a host and port that the operator allows; otherwise 422. Events of devices need the \
             scope `device:pair` too. The `v1` secret is shown only in this answer.",
        )
        .takes::<CreateWebhook>(&[("outcomes", order)])
        .gives::<CreatedWebhook>(201, "Registered", &[("registered", view())])
        .problems(&[NotFound, Unprocessable, Internal]);
    draft
        .call(Operation::ListWebhooks, "List the client's endpoints")
        .gives::<WebhookList>(200, "The list", &[("one", json!({ "webhooks": [view()] }))])
        .problems(&[NotFound]);
    draft
        .call(Operation::ReadWebhook, "Read an endpoint")
        .segment::<WebhookId>("id")
        .gives::<WebhookView>(200, "The endpoint", &[("endpoint", view())])
        .problems(&[]);
    draft
        .call(Operation::ChangeWebhook, "Change an endpoint")
        .says(
            "Changes the URL, the events, or both, by the rules of registration; keys stay. \
             Waiting deliveries go to the new URL at once, also those of removed events. Earlier \
             events of a new kind are not sent.",
        )
        .segment::<WebhookId>("id")
        .takes::<ChangeWebhook>(&[(
            "moved",
            json!({ "url": "https://shop.example.com/new-hooks" }),
        )])
        .gives::<WebhookView>(200, "The changed state", &[("endpoint", view())])
        .problems(&[Unprocessable, Internal]);
    draft
        .call(Operation::RemoveWebhook, "Remove an endpoint")
        .says("Its stored deliveries are removed too.")
        .segment::<WebhookId>("id")
        .gives_nothing(204, "Removed")
        .problems(&[Internal]);
    draft
        .call(Operation::RotateWebhookKey, "Create a new key for an endpoint")
        .says("Earlier keys of its scheme also sign for the given time, at most 30 days.")
        .segment::<WebhookId>("id")
        .takes::<RotateWebhook>(&[("rotation", json!({ "scheme": "v1a", "old_lives_s": 3600 }))])
        .gives::<CreatedWebhook>(201, "Made", &[("made", view())])
        .problems(&[Unprocessable, Internal]);
    draft
        .call(Operation::EnableWebhook, "Resume deliveries to a gone endpoint")
        .says(
            "Events of the first 72 hours after its 410 are dead letters, which can be resent one \
             by one.",
        )
        .segment::<WebhookId>("id")
        .gives::<WebhookView>(200, "Enabled", &[("endpoint", view())])
        .problems(&[Internal]);
    draft
        .call(Operation::TestWebhook, "Send a test event")
        .says("Sent once, without retries; the answer has the result.")
        .segment::<WebhookId>("id")
        .gives::<TestedWebhook>(
            200,
            "Tried",
            &[
                ("delivered", json!({ "delivered": true, "status": 204 })),
                ("failed", json!({ "delivered": false, "status": 500, "failure": "status" })),
            ],
        )
        .problems(&[]);
    deliveries(draft);
}

fn deliveries(draft: &mut OpenApiDraft) {
    let delivery = json!({
        "id": EVENT, "event": "ceremony.closed", "at": AT, "state": "waiting", "attempts": 3,
        "failure": "timeout",
    });
    draft
        .call(Operation::ListDeliveries, "List undelivered events")
        .says("In pages: pass `next` as `after` until it is absent.")
        .segment::<WebhookId>("id")
        .query_of::<DeliveryState>("state", "Only deliveries in this state")
        .query_of::<EventId>("after", "The `next` of the last page")
        .gives::<DeliveryList>(200, "A page", &[("one", json!({ "deliveries": [delivery] }))])
        .problems(&[]);
    draft
        .call(Operation::ResendDelivery, "Resend a dead letter")
        .says(
            "Tried for another 72 hours. A delivery that is being tried gets the same answer, so \
             the call can be repeated. 404 for one that was delivered. 422 while the endpoint is \
             gone.",
        )
        .segment::<WebhookId>("id")
        .segment::<EventId>("delivery")
        .gives_nothing(202, "The delivery will be tried again")
        .problems(&[Unprocessable, Internal]);
}

fn view() -> Value {
    json!({
        "id": WEBHOOK, "url": "https://shop.example.com/hooks", "events": ["ceremony.closed"],
        "state": "enabled", "created_at": AT,
        "keys": [{ "scheme": "v1a", "public_key": "whpk_…", "created_at": AT }],
    })
}
