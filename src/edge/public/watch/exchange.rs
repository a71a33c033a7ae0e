//! `POST /v1/ceremonies/{id}/events/ticket`: exchanges a credential of an `Authorization` header
//! for a ticket in a URL, which is all that a browser's `EventSource` can send.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fido_relay_proto::watch::EventTicket;

use super::WatchAccess;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::caller::Watcher;
use crate::edge::segment::Segment;
use crate::security::event_ticket::LIFETIME_S;

/// Gives a ticket for one request of the ceremony's events. It has a page's rights, also where an
/// initiator asked for it.
pub(in crate::edge) async fn exchange(
    State(edge): State<Edge>,
    watcher: Watcher,
    Segment(id): Segment,
) -> Result<(StatusCode, Json<EventTicket>), ProblemResponse> {
    let access = WatchAccess::new(watcher, &id)?;
    let view = access.look(&edge).await?;
    let now = edge.app().clock.now();
    let ticket = edge.inner.event_tickets.issue(&view.tenant, view.id, now);
    Ok((StatusCode::CREATED, Json(EventTicket { ticket, expires_in: LIFETIME_S })))
}
