//! A user's cards: list, remove a lost one.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fido_relay_proto::http::{CardList, CardView, Scope};
use fido_relay_proto::{CardId, Problem, ProblemCode, Username};

use super::caller::AuthenticatedClient;
use crate::app::{Actor, cards};
use crate::edge::Edge;
use crate::edge::refusal::Refusal;
use crate::edge::segment::Segment;
use crate::ports::{Card, Cards};
use crate::rfc3339;

/// The cards, where the FIDO2 server keeps them here.
///
/// # Errors
/// 501.
pub(in crate::edge) fn kept(cards: Option<&Arc<dyn Cards>>) -> Result<&Arc<dyn Cards>, Refusal> {
    let detail =
        "cards are listed and removed at the FIDO2 server itself: it is not the built-in one";
    cards.ok_or_else(|| Problem::new(ProblemCode::NotSupported).with_detail(detail).into())
}

/// A card as the outside sees it.
pub(in crate::edge) fn view(card: &Card) -> CardView {
    CardView {
        id: card.id,
        registered_at: rfc3339::format(card.registered_at),
        last_used_at: card.last_used_at.map(rfc3339::format),
        aaguid: card.aaguid.map(uuid),
        model: card.model.clone(),
        attestation: card.attestation,
        claimed: card.claimed,
        can_verify_user: card.can_verify_user,
    }
}

/// RFC 9562 section 4.
fn uuid(bytes: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|part| digits.get(part).unwrap_or_default()).join("-")
}

/// `GET /v1/users/{username}/cards`.
pub(super) async fn list(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(username): Segment,
) -> Result<Json<CardList>, Refusal> {
    caller.require(Scope::CardRead)?;
    let cards = kept(edge.app().cards.as_ref())?;
    let username = Username::new(&username).map_err(|_| ProblemCode::NotFound)?;
    let cards = cards.of_user(&caller.0.tenant, &username).await?;
    Ok(Json(CardList { cards: cards.iter().map(view).collect() }))
}

/// `DELETE /v1/users/{username}/cards/{id}`.
pub(super) async fn remove(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Refusal> {
    caller.require(Scope::CardRevoke)?;
    kept(edge.app().cards.as_ref())?;
    let Path((username, id)) = path.map_err(|_| ProblemCode::NotFound)?;
    let username = Username::new(&username).map_err(|_| ProblemCode::NotFound)?;
    let id: CardId = id.parse().map_err(|_| ProblemCode::NotFound)?;
    cards::remove(edge.app(), &Actor::client(&caller.0), &username, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aaguid_is_written_as_the_metadata_service_writes_it() {
        let bytes = 0x3f59_672f_20aa_4afe_b6f4_7e5e_916b_6d98_u128.to_be_bytes();
        assert_eq!(uuid(bytes), "3f59672f-20aa-4afe-b6f4-7e5e916b6d98");
        assert_eq!(uuid([0; 16]), "00000000-0000-0000-0000-000000000000");
    }
}
