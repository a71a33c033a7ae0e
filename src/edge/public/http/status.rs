//! Health, keys, and who the caller is.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use fido_relay_proto::http::ClientView;
use fido_relay_proto::{Problem, ProblemCode};

use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::caller::AuthenticatedClient;

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

/// Whether this node may take traffic; the refusal says why not ([`NotReady`](crate::node::NotReady)).
pub(in crate::edge) async fn ready(edge: &Edge) -> Result<(), ProblemResponse> {
    let ready = edge.relay().ready().await;
    ready.map_err(|why| Problem::new(ProblemCode::Unavailable).with_detail(why.to_string()).into())
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
