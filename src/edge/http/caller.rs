//! Who is calling: an initiator with its API key, or a page with its ticket.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use fido_relay_proto::http::Scope;
use fido_relay_proto::{CeremonyId, ProblemCode, TenantId};

use super::refusal::Refusal;
use crate::edge::Edge;
use crate::security::clients::Client;

/// An initiator that has authenticated.
#[derive(Debug)]
pub(super) struct Initiator(pub(super) Client);

impl Initiator {
    /// Lets pass whoever has the scope.
    pub(super) fn require(&self, scope: Scope) -> Result<(), Refusal> {
        if self.has(scope) { Ok(()) } else { Err(ProblemCode::ScopeMissing.into()) }
    }

    pub(super) fn has(&self, scope: Scope) -> bool {
        self.0.has(scope)
    }
}

/// Whoever may look at a ceremony.
#[derive(Debug)]
pub(super) enum Watcher {
    /// The backend that opened it.
    Initiator(Initiator),
    /// A page; its ticket is for this ceremony alone.
    Page(TenantId, CeremonyId),
}

impl FromRequestParts<Edge> for Initiator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Refusal> {
        let bearer = bearer(parts).ok_or(ProblemCode::Unauthorized)?;
        let world = edge.relay().world();
        let client = edge.inner.clients.authenticate(bearer, world.clock.now()).await?;
        Ok(Self(client.ok_or(ProblemCode::Unauthorized)?))
    }
}

impl FromRequestParts<Edge> for Watcher {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Refusal> {
        let ticket = bearer(parts).and_then(|bearer| edge.inner.tickets.read(bearer));
        match ticket {
            Some((tenant, ceremony)) => Ok(Self::Page(tenant, ceremony)),
            None => Initiator::from_request_parts(parts, edge).await.map(Self::Initiator),
        }
    }
}

/// The bearer token of a request (RFC 6750 section 2.1).
fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}
