//! Health, keys, and who the caller is.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use fido_relay_proto::ProblemCode;
use fido_relay_proto::http::ClientView;

use super::caller::Initiator;
use super::refusal::Refusal;
use crate::edge::Edge;
use crate::ports::{Ability, Bucket};

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: this node may take traffic. Not while it drains, and not while the store does
/// not answer or somebody who must see what happens cannot. The FIDO2 server is not asked: if it is down, every node is as unready as this one,
/// and ceremonies say so themselves.
pub(super) async fn readyz(State(edge): State<Edge>) -> Result<&'static str, Refusal> {
    let world = edge.relay().world();
    let seen = world.witnesses.ability() == Ability::Well;
    if world.tasks.draining().is_cancelled() || !seen {
        return Err(ProblemCode::Unavailable.into());
    }
    world.store.load(Bucket::Keys, "result").await?;
    Ok("ready\n")
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
pub(super) async fn who_am_i(Initiator(client): Initiator) -> Json<ClientView> {
    Json(client.view())
}
