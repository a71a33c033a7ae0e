//! What only the operator of this machine may do: create and remove initiators, open pairings,
//! revoke phones, remove cards, unlock and remove users.
//!
//! Served on a Unix socket that only the relay's own user can open ([`socket`]), so
//! there is no further credential. The command line is its only caller; it calls the same router
//! without a socket when no relay is running.

mod cards;
mod clients;
mod devices;
#[cfg(unix)]
pub mod socket;
mod users;
pub mod webhooks;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use fido_relay_proto::http::OpenPairing;
use fido_relay_proto::{ClientId, ProblemCode, TenantId};
use serde::de::DeserializeOwned;

pub use self::clients::{
    ClientEntry, CreateClient, NewKey, PublicKeyEntry, RemovePublicKey, RotateKey,
};
pub use self::devices::DeviceEntry;
pub use self::users::{CodesBlocked, LaneEntry, LaneKind, PhoneEntry, UserEntry};

use crate::app::{Actor, App, pairings};
use crate::edge::fields::from_json;
use crate::edge::problem_response::ProblemResponse;
use crate::node::Relay;

/// The header with the operator's name, which is not verified: the only proof is that the caller
/// may open the socket.
pub const OPERATOR: &str = "x-operator";

/// The state of the administration.
#[derive(Clone, Debug)]
pub struct Admin {
    pub tenant: TenantId,
    pub app: App,
    /// The relay that runs, if one does.
    pub relay: Option<Relay>,
}

/// The operator who calls, by the name in the request.
pub(super) struct Operator(pub(super) Actor);

impl FromRequestParts<Arc<Admin>> for Operator {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, Infallible> {
        let name = parts.headers.get(OPERATOR).map(HeaderValue::as_bytes).unwrap_or_default();
        let name = String::from_utf8_lossy(name);
        Ok(Self(Actor::operator(admin.tenant.clone(), &name)))
    }
}

/// The client that a path names; a malformed id is not found.
pub(super) struct ClientPath(pub(super) ClientId);

impl FromRequestParts<Arc<Admin>> for ClientPath {
    type Rejection = ProblemResponse;

    async fn from_request_parts(
        parts: &mut Parts,
        admin: &Arc<Admin>,
    ) -> Result<Self, ProblemResponse> {
        let path = Path::<String>::from_request_parts(parts, admin).await;
        let id = path.ok().and_then(|Path(id)| id.parse().ok());
        id.map(Self).ok_or_else(|| ProblemCode::NotFound.into())
    }
}

/// The body of a request, whatever its `Content-Type`.
pub(super) struct Order<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Admin>> for Order<T> {
    type Rejection = Response;

    async fn from_request(request: Request, admin: &Arc<Admin>) -> Result<Self, Response> {
        let body =
            Bytes::from_request(request, admin).await.map_err(IntoResponse::into_response)?;
        from_json(&body).map(Self).map_err(IntoResponse::into_response)
    }
}

/// The administration's paths.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/clients", get(clients::list).post(clients::create))
        .route("/clients/{id}", delete(clients::remove).patch(clients::alter))
        .route("/clients/{id}/keys", post(clients::rotate_key))
        .route("/clients/{id}/public-keys", get(clients::public_keys).post(clients::add_public_key))
        .route("/clients/{id}/public-keys/remove", post(clients::remove_public_key))
        .route("/pairings", post(open_pairing))
        .route("/devices", get(devices::list))
        .route("/devices/{id}", delete(devices::revoke))
        .route("/cards", get(cards::list))
        .route("/cards/{id}", delete(cards::remove))
        .route("/users", get(users::show).delete(users::remove))
        .route("/users/prompts", delete(users::unlock))
        .merge(webhooks::router())
        .with_state(Arc::new(admin))
}

async fn open_pairing(
    State(admin): State<Arc<Admin>>,
    Operator(actor): Operator,
    Order(OpenPairing { username }): Order<OpenPairing>,
) -> Result<Response, ProblemResponse> {
    let opened = pairings::open(&admin.app, &actor, &username).await?;
    Ok((StatusCode::CREATED, axum::Json(opened)).into_response())
}
