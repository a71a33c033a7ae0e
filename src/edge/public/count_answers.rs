//! Counts every answer of the public listener, and sums refusals for the audit log.

use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use fido_relay_proto::{Problem, ProblemCode};

use super::Edge;
use super::extract::caller;
use crate::app::audit::refusals::RefusalKind;
use crate::edge::listener;
use crate::schema::operations::{Operation, Route};

/// The kind of a refusal in the audit log, by path template, operation and problem.
fn refused(path: &str, operation: Option<Operation>, problem: ProblemCode) -> Option<RefusalKind> {
    let names_something = path.contains("{id}");
    if problem == ProblemCode::Unauthorized {
        Some(RefusalKind::Key)
    } else if problem == ProblemCode::ScopeMissing {
        Some(RefusalKind::Scope)
    } else if problem == ProblemCode::NotFound && names_something {
        Some(RefusalKind::ForeignId)
    } else if problem == ProblemCode::ProofRefused && operation == Some(Operation::PairDevice) {
        Some(RefusalKind::Pairing)
    } else if problem == ProblemCode::ProofRefused && operation == Some(Operation::RotateDeviceKey)
    {
        Some(RefusalKind::Rotation)
    } else {
        None
    }
}

/// Counts an answer by its path template: the text of a path never becomes a label.
/// Handlers find the [`Route`] that they serve in the request's extensions.
pub(super) async fn counted(
    State(edge): State<Edge>,
    mut request: Request,
    next: Next,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let from = caller::network(request.extensions().get());
    let path = matched.as_ref().map_or("none", MatchedPath::as_str);
    let route = Route::find(method.as_str(), path);
    if let Some(route) = route {
        request.extensions_mut().insert(route);
    }
    let response = next.run(request).await;
    let problem = response.extensions().get::<Problem>().map(|problem| problem.code);
    let operation = route.map(|route| route.operation);
    if let Some(what) = problem.and_then(|problem| refused(path, operation, problem)) {
        edge.refused(what, from);
    }
    let problem = problem.and_then(|code| serde_json::to_value(code).ok());
    let problem = problem.as_ref().and_then(serde_json::Value::as_str);
    if let Some(refused) = response.extensions().get::<listener::ListenerRefusal>() {
        edge.settings().metrics.turned_away(refused.name());
    }
    let status = response.status().as_u16();
    edge.settings().metrics.answered(path, status, problem);
    let media_type = response.headers().get(header::CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let problem = problem.unwrap_or_default();
    let sets_cookie = response.headers().contains_key(header::SET_COOKIE);
    let route = path;
    tracing::trace!(%method, route, status, media_type, problem, sets_cookie, "answered");
    response
}
