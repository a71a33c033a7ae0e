//! Endpoints that are told of outcomes, and what has not reached them.

use fido_relay_proto::ProblemCode::{
    self, Internal, InvalidRequest, NotFound, OriginNotAllowed, ScopeMissing, TooLarge,
    Unauthorized, Unavailable, Unprocessable, UnsupportedMediaType,
};
use fido_relay_proto::http::Scope;
use fido_relay_proto::webhook::{
    ChangeWebhook, CreateWebhook, CreatedWebhook, DeliveryList, DeliveryState, RotateWebhook,
    TestedWebhook, WebhookList, WebhookView,
};
use fido_relay_proto::{EventId, WebhookId};
use serde_json::{Value, json};

use super::call::{Access, Draft};
use super::examples::{AT, EVENT, WEBHOOK};

const TAG: &str = "webhooks";
const ONE: &str = "/v1/webhooks/{id}";
const ADMIN: Access<'static> = Access::Client(&[Scope::WebhookAdmin]);
/// Of a call about one endpoint.
const USUAL: [ProblemCode; 5] =
    [Unauthorized, ScopeMissing, OriginNotAllowed, NotFound, Unavailable];

pub(super) fn describe(draft: &mut Draft) {
    let order = json!({ "url": "https://shop.example.com/hooks", "events": ["ceremony.closed"] });
    draft
        .call(("POST", "/v1/webhooks"), TAG, "createWebhook", "Register an endpoint")
        .says(
            "On a host and port that the operator allows; otherwise 422. Events of devices need the \
             scope `device:pair` too. The `v1` secret is seen here and never again.",
        )
        .asks(&ADMIN)
        .takes::<CreateWebhook>(&[("outcomes", order)])
        .gives::<CreatedWebhook>(201, "Registered", &[("registered", view())])
        .problems(&[&USUAL[..], &body(), &[Unprocessable, Internal]].concat());
    draft
        .call(("GET", "/v1/webhooks"), TAG, "listWebhooks", "List the client's endpoints")
        .asks(&ADMIN)
        .gives::<WebhookList>(200, "The list", &[("one", json!({ "webhooks": [view()] }))])
        .problems(&USUAL);
    draft
        .call(("GET", ONE), TAG, "readWebhook", "Read an endpoint")
        .asks(&ADMIN)
        .segment::<WebhookId>("id")
        .gives::<WebhookView>(200, "The endpoint", &[("endpoint", view())])
        .problems(&USUAL);
    draft
        .call(("PATCH", ONE), TAG, "changeWebhook", "Change an endpoint")
        .says(
            "Another URL, other events, or both, by the rules of registering one; keys stay. What \
             waits goes to the new URL at once. Of events that are new to the endpoint nothing \
             from before is sent; what waits of others is still sent.",
        )
        .asks(&ADMIN)
        .segment::<WebhookId>("id")
        .takes::<ChangeWebhook>(&[(
            "moved",
            json!({ "url": "https://shop.example.com/new-hooks" }),
        )])
        .gives::<WebhookView>(200, "As it now stands", &[("endpoint", view())])
        .problems(&[&USUAL[..], &body(), &[Unprocessable, Internal]].concat());
    draft
        .call(("DELETE", ONE), TAG, "removeWebhook", "Remove an endpoint")
        .says("With all that is kept of its deliveries.")
        .asks(&ADMIN)
        .segment::<WebhookId>("id")
        .gives_nothing(204, "Removed")
        .problems(&[&USUAL[..], &[Internal]].concat());
    draft
        .call(
            ("POST", "/v1/webhooks/{id}/secrets"),
            TAG,
            "rotateWebhookKey",
            "Make a new key for an endpoint",
        )
        .says("Earlier keys of its kind sign beside it for as long as is said, at most 30 days.")
        .asks(&ADMIN)
        .segment::<WebhookId>("id")
        .takes::<RotateWebhook>(&[("rotation", json!({ "scheme": "v1a", "old_lives_s": 3600 }))])
        .gives::<CreatedWebhook>(201, "Made", &[("made", view())])
        .problems(&[&USUAL[..], &body(), &[Unprocessable, Internal]].concat());
    draft
        .call(
            ("POST", "/v1/webhooks/{id}/enable"),
            TAG,
            "enableWebhook",
            "Send to an endpoint again that was gone",
        )
        .says(
            "What happened in the first 72 hours after its 410 is there as dead letters, to be sent \
             again one by one.",
        )
        .asks(&ADMIN)
        .segment::<WebhookId>("id")
        .gives::<WebhookView>(200, "Enabled", &[("endpoint", view())])
        .problems(&[&USUAL[..], &[Internal]].concat());
    draft
        .call(("POST", "/v1/webhooks/{id}/test"), TAG, "testWebhook", "Send a test now")
        .says("Once and without a repetition; the answer says what came of it.")
        .asks(&ADMIN)
        .segment::<WebhookId>("id")
        .gives::<TestedWebhook>(
            200,
            "Tried",
            &[
                ("delivered", json!({ "delivered": true, "status": 204 })),
                ("failed", json!({ "delivered": false, "status": 500, "failure": "status" })),
            ],
        )
        .problems(&USUAL);
    deliveries(draft);
}

fn deliveries(draft: &mut Draft) {
    let delivery = json!({
        "id": EVENT, "event": "ceremony.closed", "at": AT, "state": "waiting", "attempts": 3,
        "failure": "timeout",
    });
    draft
        .call(
            ("GET", "/v1/webhooks/{id}/deliveries"),
            TAG,
            "listDeliveries",
            "List what has not reached an endpoint",
        )
        .says("In pages: give `next` as `after` until there is none.")
        .asks(&ADMIN)
        .segment::<WebhookId>("id")
        .query_of::<DeliveryState>("state", "Only what is so")
        .query_of::<EventId>("after", "Where the last page ended")
        .gives::<DeliveryList>(200, "A page", &[("one", json!({ "deliveries": [delivery] }))])
        .problems(&[&USUAL[..], &[InvalidRequest]].concat());
    draft
        .call(
            ("POST", "/v1/webhooks/{id}/deliveries/{delivery}/resend"),
            TAG,
            "resendDelivery",
            "Send a dead letter again",
        )
        .says(
            "For another 72 hours. The same answer for one that is being tried: the call can be \
             repeated. 404 for one that has arrived. 422 while the endpoint is gone.",
        )
        .asks(&ADMIN)
        .segment::<WebhookId>("id")
        .segment::<EventId>("delivery")
        .gives_nothing(202, "It will be tried again")
        .problems(&[&USUAL[..], &[Unprocessable, Internal]].concat());
}

fn body() -> [ProblemCode; 3] {
    [InvalidRequest, TooLarge, UnsupportedMediaType]
}

fn view() -> Value {
    json!({
        "id": WEBHOOK, "url": "https://shop.example.com/hooks", "events": ["ceremony.closed"],
        "state": "enabled", "created_at": AT,
        "keys": [{ "scheme": "v1a", "public_key": "whpk_…", "created_at": AT }],
    })
}
