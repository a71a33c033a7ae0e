//! What the `Origin` of a request allows: which page may watch which ceremony, and the CORS answers
//! (Fetch standard, section 3.2) that let its browser hand it what it watches.
//!
//! ```text
//!   no Origin            a backend or an app: the credential alone decides
//!   Origin + ticket      only a page that the ceremony's own client lists
//!   Origin + key, token  never: such a credential must not be in a page
//!   preflight            carries no credential: any page that a client of the tenant lists
//!   /v1/device/…         apps that are pages (`device_origins`), by their proofs
//!   /fidoapi/…           the relying party's own pages (`tenant.origins`), with its cookie
//! ```
//! An origin is compared byte for byte with what was listed. Answers name the one origin, never
//! `*`, and allow cookies under `/fidoapi/` alone.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use fido_relay_proto::{ClientId, ProblemCode, TenantId, UnixMillis};

use super::certify;
use super::pull_call::PROVEN;
use crate::edge::Edge;
use crate::edge::refusal::Refusal;
use crate::ports::StoreError;

/// What a page may do at a path.
#[derive(Clone, Copy)]
struct Rule {
    /// The methods that a preflight allows.
    methods: &'static str,
    /// What a page's request may carry beside the plain headers.
    headers: &'static str,
    /// What a page's script may read of an answer beside the plain headers.
    readable: &'static str,
    pages: Whose,
}

/// Whose pages may call at a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The relying party's own: the interface of a FIDO2 server, which ties two calls by a cookie.
    Own,
    /// Those that are an app, as the operator lists them.
    Devices,
    /// Those that a client lists.
    Clients,
}

/// The paths that pages watch at. The watcher's socket is not among them: browsers ask no CORS
/// question before a WebSocket.
const WATCHED: [(&str, &str); 3] = [
    ("/v1/ceremonies/{id}", "GET"),
    ("/v1/ceremonies/{id}/events", "GET"),
    ("/v1/ceremonies/{id}/events/ticket", "POST"),
];

fn rule_of(edge: &Edge, request: &Request) -> Option<Rule> {
    if certify::is_served(edge, request) {
        let (headers, readable) = ("Content-Type", "Retry-After");
        return Some(Rule { methods: "POST", headers, readable, pages: Whose::Own });
    }
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    if let Some((_, methods)) = PROVEN.iter().find(|(proven, _)| Some(*proven) == path) {
        let (headers, readable) = ("Authorization, Content-Type", "DPoP-Nonce, Retry-After");
        return Some(Rule { methods, headers, readable, pages: Whose::Devices });
    }
    let (_, methods) = WATCHED.iter().find(|(watched, _)| Some(*watched) == path)?;
    let (headers, readable) = ("Authorization, Last-Event-ID", "Retry-After");
    Some(Rule { methods, headers, readable, pages: Whose::Clients })
}

/// Seconds for which a browser may remember a preflight.
const REMEMBERED_S: u64 = 600;
/// Milliseconds for which a node remembers what pages its tenant's clients list: preflights carry
/// no credential, so they must not cost a walk over all clients each.
const LISTED_FOR_MS: u64 = 5_000;

/// The `Origin` of a request: none from a backend or an app, one from a browser.
///
/// # Errors
/// 403, if there are several or it is not even text.
pub(in crate::edge) fn of(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut origins = headers.get_all(header::ORIGIN).into_iter();
    match (origins.next(), origins.next()) {
        (None, _) => Ok(None),
        (Some(origin), None) => {
            origin.to_str().map(Some).map_err(|_| ProblemCode::OriginNotAllowed.into())
        }
        (Some(_), Some(_)) => Err(ProblemCode::OriginNotAllowed.into()),
    }
}

/// Holds what devices ask to apps, which send no `Origin`, and to pages that the operator lists.
///
/// # Errors
/// 403 for any other page.
pub(in crate::edge) fn of_device(edge: &Edge, headers: &HeaderMap) -> Result<(), Refusal> {
    let listed = |origin: &str| edge.settings().device_origins.iter().any(|o| o == origin);
    if of(headers)?.is_none_or(listed) { Ok(()) } else { Err(ProblemCode::OriginNotAllowed.into()) }
}

/// Holds a credential of an initiator to requests that no page made.
///
/// # Errors
/// 403, whatever the page.
pub(in crate::edge) fn none(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(header::ORIGIN) {
        Err(ProblemCode::OriginNotAllowed.into())
    } else {
        Ok(())
    }
}

/// Lets a page watch a ceremony of this client, if the client lists it; a caller without an origin
/// is no page.
///
/// # Errors
/// 403 for any other page; the store's.
pub(in crate::edge) async fn may_watch(
    edge: &Edge,
    origin: Option<&str>,
    tenant: &TenantId,
    client: ClientId,
) -> Result<(), Refusal> {
    let Some(origin) = origin else { return Ok(()) };
    let client = edge.inner.clients.find(tenant, client).await?;
    if client.is_some_and(|client| client.has_page(origin)) {
        Ok(())
    } else {
        Err(ProblemCode::OriginNotAllowed.into())
    }
}

/// Answers preflights where pages may call, and names the page's origin in their answers.
///
/// Refusals are named too where some client lists the page, so that a page reads "this ticket is
/// void" and not a failure of the network. What a refusal says is no secret.
pub(super) async fn cors(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let Some(rule) = rule_of(&edge, &request) else { return next.run(request).await };
    let origins = request.headers().get_all(header::ORIGIN).into_iter().cloned();
    let origins: Vec<_> = origins.collect();
    let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let preflight = request.method() == Method::OPTIONS && asks && !origins.is_empty();
    let watches = preflight || rule.methods.split(", ").any(|method| request.method() == method);
    let listed = match &*origins {
        [origin] if rule.pages == Whose::Own => Ok(is_own_page(&edge, origin)),
        [origin] if rule.pages == Whose::Devices => Ok(is_device_page(&edge, origin)),
        [origin] if watches => is_listed(&edge, origin).await,
        _ => Ok(false),
    };
    let mut response = match (preflight, &listed) {
        (false, _) => next.run(request).await,
        (true, Ok(true)) => allowed(rule),
        (true, Ok(false)) => Refusal::from(ProblemCode::OriginNotAllowed).into_response(),
        (true, Err(error)) => Refusal::from(error.clone()).into_response(),
    };
    // Also on what is given without an origin: a page would be answered otherwise.
    let varies = response.status().is_success() || !origins.is_empty();
    let headers = response.headers_mut();
    if varies {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let (Ok(true), [origin]) = (listed, &*origins) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if rule.pages == Whose::Own {
            let cookies = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, cookies);
        }
        if !preflight {
            let readable = HeaderValue::from_static(rule.readable);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, readable);
        }
    }
    response
}

fn allowed(rule: Rule) -> Response {
    let told: [(HeaderName, HeaderValue); 3] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(rule.methods)),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(rule.headers)),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(REMEMBERED_S)),
    ];
    (StatusCode::NO_CONTENT, axum::response::AppendHeaders(told)).into_response()
}

/// Whether it is a page of the relying party itself.
pub(super) fn is_own_page(edge: &Edge, origin: &HeaderValue) -> bool {
    edge.settings().tenant_origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
}

fn is_device_page(edge: &Edge, origin: &HeaderValue) -> bool {
    edge.settings().device_origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
}

async fn is_listed(edge: &Edge, origin: &HeaderValue) -> Result<bool, StoreError> {
    let pages = edge.inner.pages.listed(edge).await?;
    Ok(origin.to_str().is_ok_and(|origin| pages.contains(origin)))
}

/// The origins that any client of the tenant lists, as this node last saw them.
#[derive(Debug, Default)]
pub(in crate::edge) struct Pages(Mutex<Option<(UnixMillis, Arc<BTreeSet<String>>)>>);

impl Pages {
    async fn listed(&self, edge: &Edge) -> Result<Arc<BTreeSet<String>>, StoreError> {
        let now = edge.relay().dependencies().clock.now();
        if let Some((at, pages)) = self.remembered() {
            // A clock that was set back must not keep what it saw for longer.
            if at <= now && now.millis_since(at) < LISTED_FOR_MS {
                return Ok(pages);
            }
        }
        let clients = edge.inner.clients.list(&edge.settings().tenant).await?;
        let origins = clients.iter().flat_map(|client| &client.page_origins);
        let pages: Arc<BTreeSet<_>> = Arc::new(origins.map(ToString::to_string).collect());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&pages)));
        Ok(pages)
    }

    fn remembered(&self) -> Option<(UnixMillis, Arc<BTreeSet<String>>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
