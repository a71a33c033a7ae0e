//! Health, keys, and who the caller is.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use fido_relay_proto::http::ClientView;
use fido_relay_proto::{Problem, ProblemCode};

use super::caller::AuthenticatedClient;
use crate::edge::Edge;
use crate::edge::refusal::Refusal;
use crate::ports::{Ability, Bucket};

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: see [`ready`].
pub(super) async fn readyz(State(edge): State<Edge>) -> Result<&'static str, Refusal> {
    ready(&edge).await.map(|()| "ready\n")
}

/// Whether this node may take traffic; the refusal says why not. Not while it drains, not after a
/// task ended that it cannot do without, and not while the store takes no writes (a full disk), does
/// not answer, or the audit log cannot be written. The FIDO2 server is not asked: if it is down, every node is as
/// unready as this one, and ceremonies say so themselves.
pub(super) async fn ready(edge: &Edge) -> Result<(), Refusal> {
    let world = edge.relay().dependencies();
    let not = |why: String| Problem::new(ProblemCode::Unavailable).with_detail(why).into();
    if let Some(task) = world.tasks.first_failed_task() {
        return Err(not(format!("the task \"{task}\" ended: this node must be started afresh")));
    }
    if world.tasks.draining().is_cancelled() {
        return Err(not("stopping".to_owned()));
    }
    if *world.recording.borrow() != Ability::Well {
        return Err(not("what happens cannot be recorded".to_owned()));
    }
    world.store.writable().await.map_err(|error| {
        tracing::error!(%error, "the store takes no writes");
        not("the store takes no writes".to_owned())
    })?;
    world.store.load(Bucket::Keys, "result").await.map_err(|error| {
        tracing::error!(%error, "the store refused");
        not("the store does not answer".to_owned())
    })?;
    Ok(())
}

/// `GET /.well-known/jwks.json`: what result tokens verify with, and receipts and the audit log's
/// checkpoints.
pub(super) async fn jwks(State(edge): State<Edge>) -> Response {
    let mut set = edge.inner.results.jwks();
    set.keys.push(edge.inner.records.published().clone());
    let mut response = Json(set).into_response();
    let cache = HeaderValue::from_static("public, max-age=300");
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    response
}

/// `GET /v1/clients/self`.
pub(super) async fn who_am_i(AuthenticatedClient(client): AuthenticatedClient) -> Json<ClientView> {
    Json(client.view())
}
