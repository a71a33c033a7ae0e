//! Cards: list, removal.

use fido_relay_proto::ProblemCode::NotSupported;
use fido_relay_proto::http::CardList;
use fido_relay_proto::{CardId, Username};
use serde_json::json;

use super::call::OpenApiDraft;
use super::examples::AT;
use crate::schema::operations::Operation;

pub(super) fn describe(draft: &mut OpenApiDraft) {
    let card = json!({
        "id": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU", "registered_at": AT,
        "last_used_at": AT, "aaguid": "3f59672f-20aa-4afe-b6f4-7e5e916b6d98",
        "model": "Arculus FIDO 2.1 Key Card [P71]", "attestation": "verified", "claimed": false,
        "can_verify_user": true,
    });
    draft
        .call(Operation::ListCards, "List a user's cards")
        .says("An unknown user has no card. 501 with an external FIDO2 server.")
        .segment::<Username>("username")
        .gives::<CardList>(200, "The list", &[("one", json!({ "cards": [card] }))])
        .problems(&[NotSupported]);
    draft
        .call(Operation::RemoveCard, "Remove a card, such as a lost one")
        .says(
            "Permanent: no ceremony can succeed with it any more, not even an open one. 501 with \
             an external FIDO2 server.",
        )
        .segment::<Username>("username")
        .segment::<CardId>("id")
        .gives_nothing(204, "Removed")
        .problems(&[NotSupported]);
}
