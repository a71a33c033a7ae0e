//! What only the operator of this machine may do: make and remove initiators, mint pairing tokens,
//! revoke phones, remove cards.
//!
//! Served on a Unix socket that only the relay's own user can open ([`super::admin_socket`]), so
//! there is no further credential. The command line is its only caller; it calls the same router
//! without a socket when no relay is running.

mod cards;
mod clients;
mod devices;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use fido_relay_proto::http::OpenPairing;
use fido_relay_proto::{ClientId, ProblemCode, TenantId, UnixMillis};

pub use self::clients::{
    ClientEntry, CreateClient, KEY_MAX_S, NewKey, PublicKeyEntry, RemovePublicKey, RotateKey,
};
pub use self::devices::{DeviceEntry, Revoking};

use super::admin_webhooks;
use super::http::fields::from_json;
use super::http::refusal::Refusal;
use crate::ports::{Batch, Cards, Clock, Happening, SecurityEvent, Store};
use crate::security::clients::Clients;
use crate::security::pairing;
use crate::webhooks::Webhooks;

/// What the administration works on.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The relying party.
    pub tenant: TenantId,
    /// The relay's records.
    pub store: Arc<dyn Store>,
    /// When it is.
    pub clock: Arc<dyn Clock>,
    /// Where apps reach the relay, without a trailing slash.
    pub public_url: String,
    /// Webhook endpoints, if they are managed here.
    pub webhooks: Option<Webhooks>,
    /// The users' cards, where the FIDO2 server keeps them here.
    pub cards: Option<Arc<dyn Cards>>,
    /// How devices and cards are revoked.
    pub revoking: Revoking,
}

impl Admin {
    async fn noted(&self, at: UnixMillis, what: Happening) {
        let tenant = self.tenant.clone();
        let entry = SecurityEvent::new(tenant, at, what).entry();
        let _ = self.store.commit(Batch::new().entry(entry)).await;
    }

    pub(super) fn clients(&self) -> Clients {
        Clients::new(Arc::clone(&self.store))
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
        .route("/users", delete(cards::remove_user))
        .merge(admin_webhooks::router())
        .with_state(Arc::new(admin))
}

async fn open_pairing(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Refusal> {
    let OpenPairing { username } = from_json(&body)?;
    let Admin { tenant, store, clock, public_url, .. } = &*admin;
    let opened = pairing::open(&**store, tenant, &username, public_url, clock.now()).await?;
    Ok((StatusCode::CREATED, axum::Json(opened)).into_response())
}

pub(super) fn parse_id(id: &str) -> Result<ClientId, Refusal> {
    id.parse().map_err(|_| ProblemCode::NotFound.into())
}
