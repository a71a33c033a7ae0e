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
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use fido_relay_proto::http::OpenPairing;
use fido_relay_proto::{ClientId, ProblemCode, TenantId};

pub use self::clients::{
    ClientEntry, CreateClient, KEY_MAX_S, NewKey, PublicKeyEntry, RemovePublicKey, RotateKey,
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
    body: Bytes,
) -> Result<Response, ProblemResponse> {
    let OpenPairing { username } = from_json(&body)?;
    let opened = pairings::open(&admin.app, &actor, &username).await?;
    Ok((StatusCode::CREATED, axum::Json(opened)).into_response())
}

pub(super) fn parse_id(id: &str) -> Result<ClientId, ProblemResponse> {
    id.parse().map_err(|_| ProblemCode::NotFound.into())
}
