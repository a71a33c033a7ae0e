//! `/v1/ceremonies/{id}/receipt`: what lets an auditor verify the card's signature years later.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use fido_relay_proto::ProblemCode;

use crate::app::ceremonies::{CeremonyKey, CeremonySnapshot, Viewer};
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::caller::AuthenticatedClient;
use crate::edge::segment::Segment;
use crate::security::receipt::Receipt;

/// `GET /v1/ceremonies/{id}/receipt`: a compact JWS, for the initiator that opened the ceremony.
/// A ceremony without a receipt is not found.
pub(in crate::edge) async fn read(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
) -> Result<impl IntoResponse, ProblemResponse> {
    let id = id.parse().map_err(|_| ProblemCode::NotFound)?;
    let key = CeremonyKey { tenant: caller.client.tenant.clone(), id };
    let ceremony = edge.relay().ceremonies.load(&key).await?.ok_or(ProblemCode::NotFound)?;
    let (snapshot, now) = (CeremonySnapshot::from(&*ceremony), edge.app().clock.now());
    Viewer::Client(&caller.client).may_see(&snapshot, now)?;
    let records = &edge.inner.records;
    let receipt = Receipt::of(records.issuer(), &ceremony).ok_or(ProblemCode::NotFound)?;
    let jws = receipt.sign(records).ok_or(ProblemCode::Internal)?;
    // RFC 7515 section 9.2.1.
    Ok(([(header::CONTENT_TYPE, "application/jose")], jws))
}
