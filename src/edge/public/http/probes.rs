//! The admin listener: what watches a node asks here, and finds nothing else. It is a listener of
//! its own, so that no route to the public one leads to the figures.

use axum::Router;
use axum::extract::State;
use axum::extract::{MatchedPath, Request};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use fido_relay_proto::{Problem, ProblemCode, UnixMillis};

use super::{caller, status};
use crate::edge::Edge;
use crate::edge::listener::Refused;
use crate::metrics::{self, NodeGauges, WebhookGauges};
use crate::security::refusals as security;

/// Every route of the admin listener.
pub fn probes(edge: Edge) -> Router {
    Router::new()
        .route("/metrics", get(figures))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .fallback(super::nothing_here)
        .method_not_allowed_fallback(super::wrong_method)
        .layer(middleware::from_fn(super::authority::well_formed))
        .layer(middleware::from_fn(super::plain_answers))
        .with_state(edge)
}

/// `GET /metrics`.
async fn figures(State(edge): State<Edge>) -> Response {
    let relay = edge.relay();
    let census = relay.census();
    let gauges = NodeGauges {
        ready: status::ready(&edge).await.is_ok(),
        sockets: census.sockets,
        open: census.open,
        deadlines: census.deadlines,
        watched: census.watched,
        result_tokens: edge.inner.results.signed(),
        panics: relay.dependencies().tasks.panics(),
        webhooks: deliveries(&edge),
    };
    let rendered = edge.settings().metrics.render(gauges);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], rendered).into_response()
}

fn deliveries(edge: &Edge) -> WebhookGauges {
    let Some(webhooks) = &edge.app().webhooks else { return WebhookGauges::default() };
    let figures = webhooks.figures();
    let late = match figures.oldest_due {
        0 => 0,
        due => edge.relay().dependencies().clock.now().millis_since(UnixMillis(due)),
    };
    WebhookGauges {
        delivered: figures.delivered,
        failed: figures.failed,
        dead: figures.dead,
        waiting: figures.waiting,
        open_circuits: figures.open_circuits,
        overdue_s: late / 1000,
    }
}

/// What a refusal is to the audit log, by the route and the problem that answers it.
fn refused(route: &str, problem: ProblemCode) -> Option<security::Refused> {
    use security::Refused::{ForeignId, Key, Pairing, Rotation, Scope};
    let names_something = route.contains("{id}");
    if problem == ProblemCode::Unauthorized {
        Some(Key)
    } else if problem == ProblemCode::ScopeMissing {
        Some(Scope)
    } else if problem == ProblemCode::NotFound && names_something {
        Some(ForeignId)
    } else if problem == ProblemCode::ProofRefused && route == "/v1/devices" {
        Some(Pairing)
    } else if problem == ProblemCode::ProofRefused && route == "/v1/device/key" {
        Some(Rotation)
    } else {
        None
    }
}

/// Counts every answer of the public listener by its route's template: what a stranger writes into
/// a path never becomes a label.
pub(super) async fn counted(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let from = caller::network(request.extensions().get());
    let response = next.run(request).await;
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    let problem = response.extensions().get::<Problem>().map(|problem| problem.code);
    if let Some(what) = problem.and_then(|problem| refused(route, problem)) {
        edge.refused(what, from);
    }
    let problem = problem.and_then(|code| serde_json::to_value(code).ok());
    let problem = problem.as_ref().and_then(serde_json::Value::as_str);
    if let Some(refused) = response.extensions().get::<Refused>() {
        edge.settings().metrics.turned_away(refused.name());
    }
    let status = response.status().as_u16();
    edge.settings().metrics.answered(route, status, problem);
    let media_type = response.headers().get(header::CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let problem = problem.unwrap_or_default();
    let sets_cookie = response.headers().contains_key(header::SET_COOKIE);
    tracing::trace!(%method, route, status, media_type, problem, sets_cookie, "answered");
    response
}
