//! CORS (Fetch standard, section 3.2): which pages may call which paths, and what their scripts may
//! read of the answers.
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

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use fido_relay_proto::ProblemCode;

use super::Edge;
use super::http::certify;
use crate::edge::problem_response::ProblemResponse;
use crate::ports::StoreError;
use crate::schema::operations::{Access, Operation, Route};

/// Seconds for which a browser may remember a preflight.
const REMEMBERED_S: u64 = 600;

/// What pages may do at a path.
#[derive(Clone, Copy)]
struct CorsRule {
    /// The method that a preflight allows.
    method: &'static str,
    /// Headers that a page's request may have beside the safelisted ones.
    headers: &'static str,
    /// Headers that a page's script may read beside the safelisted ones.
    readable: &'static str,
    pages: PagesOf,
}

/// The owners of the pages that may call a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PagesOf {
    /// The relying party: the interface of a FIDO2 server ties two calls by a cookie.
    RelyingParty,
    /// Apps that are pages, as the operator lists them.
    Devices,
    /// Clients, as each lists its own.
    Clients,
}

impl CorsRule {
    fn of(edge: &Edge, request: &Request) -> Option<Self> {
        if certify::is_served(edge, request) {
            let (headers, readable) = ("Content-Type", "Retry-After");
            return Some(Self { method: "POST", headers, readable, pages: PagesOf::RelyingParty });
        }
        let path = request.extensions().get::<MatchedPath>()?;
        Route::at(path.as_str()).find_map(Self::of_route)
    }

    fn of_route(route: &Route) -> Option<Self> {
        let (headers, readable, pages) = match route.access {
            // Browsers ask no CORS question before a WebSocket.
            _ if route.operation == Operation::OpenWatchSocket => return None,
            Access::Watcher | Access::EventWatcher => {
                ("Authorization, Last-Event-ID", "Retry-After", PagesOf::Clients)
            }
            Access::Device => {
                ("Authorization, Content-Type", "DPoP-Nonce, Retry-After", PagesOf::Devices)
            }
            Access::Anybody | Access::Client(_) => return None,
        };
        Some(Self { method: route.method.as_str(), headers, readable, pages })
    }
}

/// Answers preflights where pages may call, and names the page's origin in their answers.
///
/// RefusalCounts name it too where some client lists the page, so that a page reads "this ticket is
/// void" and not a failure of the network. The text of a refusal is no secret.
pub(super) async fn cors(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let Some(rule) = CorsRule::of(&edge, &request) else { return next.run(request).await };
    let origins = request.headers().get_all(header::ORIGIN).into_iter().cloned();
    let origins: Vec<_> = origins.collect();
    let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let preflight = request.method() == Method::OPTIONS && asks && !origins.is_empty();
    let watches = preflight || request.method() == rule.method;
    let listed = match &*origins {
        [origin] if rule.pages == PagesOf::RelyingParty => Ok(is_own_page(&edge, origin)),
        [origin] if rule.pages == PagesOf::Devices => Ok(is_device_page(&edge, origin)),
        [origin] if watches => is_listed(&edge, origin).await,
        _ => Ok(false),
    };
    let mut response = match (preflight, &listed) {
        (false, _) => next.run(request).await,
        (true, Ok(true)) => allowed(rule),
        (true, Ok(false)) => ProblemResponse::from(ProblemCode::OriginNotAllowed).into_response(),
        (true, Err(error)) => ProblemResponse::from(error.clone()).into_response(),
    };
    // Also on answers to requests without an origin: a page would get another one.
    let varies = response.status().is_success() || !origins.is_empty();
    let headers = response.headers_mut();
    if varies {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let (Ok(true), [origin]) = (listed, &*origins) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if rule.pages == PagesOf::RelyingParty {
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

fn allowed(rule: CorsRule) -> Response {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(rule.method)),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(rule.headers)),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(REMEMBERED_S)),
    ];
    (StatusCode::NO_CONTENT, axum::response::AppendHeaders(headers)).into_response()
}

fn is_own_page(edge: &Edge, origin: &HeaderValue) -> bool {
    edge.settings().tenant_origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
}

fn is_device_page(edge: &Edge, origin: &HeaderValue) -> bool {
    edge.settings().device_origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
}

async fn is_listed(edge: &Edge, origin: &HeaderValue) -> Result<bool, StoreError> {
    let (now, tenant) = (edge.app().clock.now(), &edge.settings().tenant);
    let listed = edge.inner.page_origins.listed(&edge.inner.clients, tenant, now).await?;
    Ok(origin.to_str().is_ok_and(|origin| listed.contains(origin)))
}
