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
            "Of the caller's own openings, and alike for a name that no user has. Without \
             `presence:read` by the caller's own openings and their outcomes alone, as if each \
             prompt reached a phone; with it also by what others have asked, and by what the \
             phones were rung for.",
        )
        .segment::<Username>("username")
        .gives::<UserPrompts>(200, "How it stands", &[("free", free), ("held", held)])
        .problems(&[]);
    draft
        .call(Operation::UnlockPrompts, "Let the caller's next prompt ring")
        .says(
            "Lifts what holds the caller's own prompts back, whether there is anything or not: 204 \
             for any name. Three times a day for a user, then 429 with `Retry-After`. \"Not me\" \
             and locks of phones stay: they are the operator's to lift. The user's phones get a \
             notice.",
        )
        .segment::<Username>("username")
        .gives_nothing(204, "Lifted")
        .problems(&[]);
}
