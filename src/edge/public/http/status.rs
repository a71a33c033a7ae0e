//! Health, keys, and who the caller is.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use fido_relay_proto::http::ClientView;
use fido_relay_proto::{Problem, ProblemCode};

use crate::app::keys;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::caller::AuthenticatedClient;
use crate::ports::ExportHealth;

/// `GET /healthz`: the process answers.
pub(in crate::edge) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: see [`ready`].
pub(in crate::edge) async fn readyz(
    State(edge): State<Edge>,
) -> Result<&'static str, ProblemResponse> {
    ready(&edge).await.map(|()| "ready\n")
}

/// Whether this node may take traffic; the refusal says why not. Not while it drains, after a vital
/// task ended, while the store takes no writes (a full disk) or does not answer, and while the
/// audit log cannot be written. The FIDO2 server is not asked: while it is down no node is of more
/// use, and ceremonies report it themselves.
pub(in crate::edge) async fn ready(edge: &Edge) -> Result<(), ProblemResponse> {
    let world = edge.relay().dependencies();
    let not = |why: String| Problem::new(ProblemCode::Unavailable).with_detail(why).into();
    if let Some(task) = world.tasks.first_failed_task() {
        return Err(not(format!("the task \"{task}\" ended: this node must be started afresh")));
    }
    if world.tasks.draining().is_cancelled() {
        return Err(not("stopping".to_owned()));
    }
    if *world.recording.borrow() != ExportHealth::Healthy {
        return Err(not("what happens cannot be recorded".to_owned()));
    }
    world.store.writable().await.map_err(|error| {
        tracing::error!(%error, "the store takes no writes");
        not("the store takes no writes".to_owned())
    })?;
    keys::probe(&*world.store).await.map_err(|error| {
        tracing::error!(%error, "the store refused");
        not("the store does not answer".to_owned())
    })?;
    Ok(())
}

/// `GET /.well-known/jwks.json`: the keys that verify result tokens, receipts and the audit log's
/// checkpoints.
pub(in crate::edge) async fn jwks(State(edge): State<Edge>) -> Response {
    let mut set = edge.inner.results.jwks();
    set.keys.push(edge.inner.records.published().clone());
    let mut response = Json(set).into_response();
    let cache = HeaderValue::from_static("public, max-age=300");
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    response
}

/// `GET /v1/clients/self`.
pub(in crate::edge) async fn who_am_i(caller: AuthenticatedClient) -> Json<ClientView> {
    Json(caller.client.view())
}
