//! A user's prompts: why they do not ring, and lifting that.

use fido_relay_proto::Username;
use fido_relay_proto::http::UserPrompts;
use serde_json::json;

use super::call::OpenApiDraft;
use crate::schema::operations::Operation;

pub(super) fn describe(draft: &mut OpenApiDraft) {
    let rings = json!({ "rings": true });
    let waits = json!({ "rings": false, "why": "wait", "rings_in_s": 42 });
    let free = json!({ "stranger": rings, "vouched": rings, "unlocks_left": 3 });
    let held = json!({ "stranger": waits, "vouched": rings, "unlocks_left": 2 });
    draft
        .call(Operation::ReadPrompts, "Why the caller's prompts do not ring")
        .says(
            "For prompts of the caller's own ceremonies; an unknown name gets the same kind of \
             answer. Without `presence:read` it follows only from the caller's own openings and \
             their outcomes, as if each prompt reached a phone; with it also from other \
             initiators' openings, and from the prompts that rang.",
        )
        .segment::<Username>("username")
        .gives::<UserPrompts>(200, "How it stands", &[("free", free), ("held", held)])
        .problems(&[]);
    draft
        .call(Operation::UnlockPrompts, "Let the caller's next prompt ring")
        .says(
            "Lifts the limits that hold back the caller's own prompts: 204 for any name, also \
             without a limit. Three times a day for a user, then 429 with `Retry-After`. \"Not \
             me\" and locks of phones stay: only the operator can lift them. The user's phones get a \
             notice.",
        )
        .segment::<Username>("username")
        .gives_nothing(204, "Lifted")
        .problems(&[]);
}
