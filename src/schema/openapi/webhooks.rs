//! Endpoints that are told of outcomes, and what has not reached them.

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
             scope `device:pair` too. The `v1` secret is seen here and never again.",
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
            "Another URL, other events, or both, by the rules of registering one; keys stay. What \
             waits goes to the new URL at once. Of events that are new to the endpoint nothing \
             from before is sent; what waits of others is still sent.",
        )
        .segment::<WebhookId>("id")
        .takes::<ChangeWebhook>(&[(
            "moved",
            json!({ "url": "https://shop.example.com/new-hooks" }),
        )])
        .gives::<WebhookView>(200, "As it now stands", &[("endpoint", view())])
        .problems(&[Unprocessable, Internal]);
    draft
        .call(Operation::RemoveWebhook, "Remove an endpoint")
        .says("With all that is kept of its deliveries.")
        .segment::<WebhookId>("id")
        .gives_nothing(204, "Removed")
        .problems(&[Internal]);
    draft
        .call(Operation::RotateWebhookKey, "Make a new key for an endpoint")
        .says("Earlier keys of its kind sign beside it for as long as is said, at most 30 days.")
        .segment::<WebhookId>("id")
        .takes::<RotateWebhook>(&[("rotation", json!({ "scheme": "v1a", "old_lives_s": 3600 }))])
        .gives::<CreatedWebhook>(201, "Made", &[("made", view())])
        .problems(&[Unprocessable, Internal]);
    draft
        .call(Operation::EnableWebhook, "Send to an endpoint again that was gone")
        .says(
            "What happened in the first 72 hours after its 410 is there as dead letters, to be sent \
             again one by one.",
        )
        .segment::<WebhookId>("id")
        .gives::<WebhookView>(200, "Enabled", &[("endpoint", view())])
        .problems(&[Internal]);
    draft
        .call(Operation::TestWebhook, "Send a test now")
        .says("Once and without a repetition; the answer says what came of it.")
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
        .call(Operation::ListDeliveries, "List what has not reached an endpoint")
        .says("In pages: give `next` as `after` until there is none.")
        .segment::<WebhookId>("id")
        .query_of::<DeliveryState>("state", "Only what is so")
        .query_of::<EventId>("after", "Where the last page ended")
        .gives::<DeliveryList>(200, "A page", &[("one", json!({ "deliveries": [delivery] }))])
        .problems(&[]);
    draft
        .call(Operation::ResendDelivery, "Send a dead letter again")
        .says(
            "For another 72 hours. The same answer for one that is being tried: the call can be \
             repeated. 404 for one that has arrived. 422 while the endpoint is gone.",
        )
        .segment::<WebhookId>("id")
        .segment::<EventId>("delivery")
        .gives_nothing(202, "It will be tried again")
        .problems(&[Unprocessable, Internal]);
}

fn view() -> Value {
    json!({
        "id": WEBHOOK, "url": "https://shop.example.com/hooks", "events": ["ceremony.closed"],
        "state": "enabled", "created_at": AT,
        "keys": [{ "scheme": "v1a", "public_key": "whpk_…", "created_at": AT }],
    })
}
