//! The caller of a request: an initiator with its credential, a page with its ticket, or a device.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use fido_relay_proto::http::Scope;
use fido_relay_proto::{CeremonyId, ProblemCode, TenantId};

use super::origin;
use crate::app::clients::Client;
use crate::edge::listener::Accepted;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::schema::operations::{Access, Route};
use crate::security::{access_token, ticket};

/// An initiator that has authenticated.
#[derive(Debug)]
pub(in crate::edge) struct AuthenticatedClient {
    pub(in crate::edge) client: Arc<Client>,
    route: Option<&'static Route>,
}

impl AuthenticatedClient {
    /// Requires the one scope that the table of operations names for this request.
    ///
    /// # Errors
    /// 403, naming the scope that is missing; 500 where the table names none or several.
    pub(in crate::edge) fn require_route_scope(&self) -> Result<(), ProblemResponse> {
        match self.route.map(|route| route.access) {
            Some(Access::Client([scope])) => self.require(*scope),
            Some(
                Access::Anybody
                | Access::Client(_)
                | Access::Watcher
                | Access::EventWatcher
                | Access::Device,
            )
            | None => Err(ProblemCode::Internal.into()),
        }
    }

    /// # Errors
    /// 403, naming the scope that is missing.
    pub(in crate::edge) fn require(&self, scope: Scope) -> Result<(), ProblemResponse> {
        Ok(self.client.require(scope)?)
    }

    pub(in crate::edge) fn has(&self, scope: Scope) -> bool {
        self.client.has(scope)
    }
}

/// A caller that may watch a ceremony.
#[derive(Debug)]
pub(in crate::edge) enum Watcher {
    /// The backend that opened it.
    AuthenticatedClient(AuthenticatedClient),
    /// The holder of a ticket, which is for this ceremony alone.
    Page {
        tenant: TenantId,
        ceremony: CeremonyId,
        /// The page, if a browser asks: `WatchAccess` compares it with what the client lists.
        origin: Option<String>,
    },
}

impl Watcher {
    /// The holder of a ticket for this ceremony, however the ticket was sent.
    ///
    /// # Errors
    /// 403 for a malformed origin.
    pub(in crate::edge) fn page(
        headers: &HeaderMap,
        tenant: TenantId,
        ceremony: CeremonyId,
    ) -> Result<Self, ProblemResponse> {
        let origin = origin::of(headers)?.map(str::to_owned);
        Ok(Self::Page { tenant, ceremony, origin })
    }
}

impl FromRequestParts<Edge> for AuthenticatedClient {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, ProblemResponse> {
        // Before the credential is verified: a page must not learn whether it is good.
        origin::none(&parts.headers)?;
        let bearer = bearer(parts).ok_or(ProblemCode::Unauthorized)?;
        let now = edge.app().clock.now();
        let (clients, tokens) = (&edge.inner.clients, &edge.inner.access_tokens);
        let client = if access_token::is_meant(bearer) {
            clients.by_access_token(tokens, bearer, now).await?.map(Arc::new)
        } else {
            clients.authenticate(bearer, now).await?
        };
        // From a wrong address a good key is answered like a bad one.
        let client = client.filter(|client| client.may_call_from(address(&parts.extensions)));
        let client = client.ok_or_else(|| wrong_credential(edge, &parts.extensions))?;
        if let Some(accepted) = parts.extensions.get::<Accepted>() {
            accepted.handle().authenticated();
        }
        Ok(Self { client, route: parts.extensions.get().copied() })
    }
}

impl FromRequestParts<Edge> for Watcher {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, ProblemResponse> {
        let Some(ticket) = bearer(parts).filter(|bearer| ticket::is_meant(bearer)) else {
            return AuthenticatedClient::from_request_parts(parts, edge)
                .await
                .map(Self::AuthenticatedClient);
        };
        let opened = edge.inner.tickets.read(ticket);
        let (tenant, ceremony) = opened.ok_or_else(|| wrong_credential(edge, &parts.extensions))?;
        Self::page(&parts.headers, tenant, ceremony)
    }
}

/// The answer to a wrong credential: 401, and 429 from an address that sends too many. The rate is
/// checked after the credential, so that guesses from a shared address do not block a good one.
pub(in crate::edge) fn wrong_credential(edge: &Edge, extensions: &Extensions) -> ProblemResponse {
    match edge.inner.limits.refused(network(extensions.get())) {
        Ok(()) => ProblemCode::Unauthorized.into(),
        Err(too_fast) => too_fast.into(),
    }
}

/// The address whose rates a request uses. Without a listener all requests share one.
pub(in crate::edge) fn network(accepted: Option<&Accepted>) -> IpAddr {
    accepted.map_or(IpAddr::from([0; 4]), |accepted| accepted.client)
}

/// A call with a device's proof in its body: from an app, or a page that the operator lists, at an
/// address that has tries left. All of it is checked before the body is read.
#[derive(Debug)]
pub(in crate::edge) struct DeviceCall {
    /// The address whose tries it uses.
    pub(in crate::edge) network: IpAddr,
}

impl FromRequestParts<Edge> for DeviceCall {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, ProblemResponse> {
        origin::of_device(edge, &parts.headers)?;
        let network = network(parts.extensions.get());
        edge.inner.limits.attempt(network)?;
        Ok(Self { network })
    }
}

/// The client's address; none without a listener.
pub(in crate::edge) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<Accepted>().map(|accepted| accepted.client)
}

/// The bearer token of a request (RFC 6750 section 2.1).
fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
}
