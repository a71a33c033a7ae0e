//! What only the operator of this machine may do: make and remove initiators, mint pairing tokens.
//!
//! Served on a Unix socket that only the relay's own user can open ([`super::admin_socket`]), so
//! there is no further credential. The command line is its only caller; it calls the same router
//! without a socket when no relay is running.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use fido_relay_proto::http::{OpenPairing, Scope};
use fido_relay_proto::{Binding, ClientId, PlainText, Problem, ProblemCode, TenantId, UnixMillis};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::admin_webhooks;
use super::http::refusal::Refusal;
use crate::ports::{Clock, Happening, SecurityEvent, Store, Witnesses};
use crate::security::clients::{ApiKey, Client, ClientError, Clients, NewClient};
use crate::security::pairing;
use crate::webhooks::Webhooks;

/// Longest that a key may be asked to live: ten years, in seconds.
pub const KEY_MAX_S: u64 = 10 * 365 * 24 * 3600;

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
    /// Who hears of what is done here.
    pub witnesses: Witnesses,
    /// Webhook endpoints, if they are managed here.
    pub webhooks: Option<Webhooks>,
}

impl Admin {
    async fn noted(&self, at: UnixMillis, what: Happening) {
        let tenant = self.tenant.clone();
        self.witnesses.noted(&SecurityEvent { tenant, at, what }).await;
    }

    pub(super) fn clients(&self) -> Clients {
        Clients::new(Arc::clone(&self.store))
    }
}

/// `POST /clients`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateClient {
    /// Its name, as devices show it.
    pub name: PlainText<64>,
    /// What it may do; at least one.
    pub scopes: Vec<Scope>,
    /// The bindings it may use; at least one.
    pub bindings: Vec<Binding>,
    /// Seconds that its first key lives; without it the key does not end.
    pub key_lives_s: Option<u64>,
}

/// `POST /clients/{id}/keys`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// Seconds that the new key lives; without it the key does not end.
    pub key_lives_s: Option<u64>,
    /// Seconds that the key before it still lives. Older ones end at once.
    pub old_lives_s: u64,
}

/// A client as the operator sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientEntry {
    /// The client.
    pub client_id: ClientId,
    /// Its name.
    pub name: PlainText<64>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The bindings it may use.
    pub bindings: Vec<Binding>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When its live keys end, the oldest first; `null`: never.
    pub keys_end: Vec<Option<UnixMillis>>,
}

impl ClientEntry {
    fn of(client: Client, now: UnixMillis) -> Self {
        let live = client.keys.iter().filter(|key| key.is_live(now));
        Self {
            client_id: client.id,
            created_at: client.created_at,
            keys_end: live.map(|key| key.expires_at).collect(),
            name: client.name,
            scopes: client.scopes,
            bindings: client.bindings,
        }
    }
}

/// The answer to `POST /clients` and `POST /clients/{id}/keys`.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewKey {
    /// Whose.
    pub client_id: ClientId,
    /// The API key: the one time that it is seen.
    pub key: String,
}

impl NewKey {
    fn of(client_id: ClientId, key: &ApiKey) -> Self {
        Self { client_id, key: key.expose().to_owned() }
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// The administration's paths.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/clients", get(list_clients).post(create_client))
        .route("/clients/{id}", delete(remove_client))
        .route("/clients/{id}/keys", post(rotate_key))
        .route("/pairings", post(open_pairing))
        .merge(admin_webhooks::router())
        .with_state(Arc::new(admin))
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NotFound => {
                Problem::new(ProblemCode::NotFound).with_detail("there is no such client").into()
            }
            ClientError::TooManyKeys => unprocessable("the client has two live keys"),
            ClientError::Store(error) => error.into(),
        }
    }
}

fn unprocessable(detail: &'static str) -> Refusal {
    Problem::new(ProblemCode::Unprocessable).with_detail(detail).into()
}

async fn list_clients(State(admin): State<Arc<Admin>>) -> Result<Response, Refusal> {
    let now = admin.clock.now();
    let clients = admin.clients().list(&admin.tenant).await?;
    let entries: Vec<_> = clients.into_iter().map(|client| ClientEntry::of(client, now)).collect();
    Ok(axum::Json(entries).into_response())
}

async fn create_client(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Refusal> {
    let CreateClient { name, scopes, bindings, key_lives_s } = parse(&body)?;
    if scopes.is_empty() || bindings.is_empty() {
        return Err(unprocessable("a client needs a scope and a binding"));
    }
    let now = admin.clock.now();
    let key_end = end(now, key_lives_s)?;
    let new = NewClient { tenant: admin.tenant.clone(), name, scopes, bindings };
    let client = admin.clients().create(new, now).await?;
    let key = admin.clients().add_key(&admin.tenant, client.id, key_end, None, now).await?;
    tracing::info!(client = %client.id, "client made");
    admin.noted(now, Happening::ClientMade { client_id: client.id }).await;
    Ok((StatusCode::CREATED, axum::Json(NewKey::of(client.id, &key))).into_response())
}

async fn remove_client(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let id = parse_id(&id)?;
    admin.clients().remove(&admin.tenant, id).await?;
    if let Some(webhooks) = &admin.webhooks {
        webhooks.remove_all(&admin.tenant, id).await?;
    }
    tracing::info!(client = %id, "client removed");
    admin.noted(admin.clock.now(), Happening::ClientRemoved { client_id: id }).await;
    Ok(StatusCode::NO_CONTENT)
}

async fn rotate_key(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let id = parse_id(&id)?;
    let RotateKey { key_lives_s, old_lives_s } = parse(&body)?;
    let now = admin.clock.now();
    let (key_end, old_end) = (end(now, key_lives_s)?, end(now, Some(old_lives_s))?);
    let key = admin.clients().add_key(&admin.tenant, id, key_end, old_end, now).await?;
    tracing::info!(client = %id, "client key made");
    admin.noted(now, Happening::ClientKeyMade { client_id: id }).await;
    Ok((StatusCode::CREATED, axum::Json(NewKey::of(id, &key))).into_response())
}

async fn open_pairing(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Refusal> {
    let OpenPairing { username } = parse(&body)?;
    let Admin { tenant, store, clock, public_url, .. } = &*admin;
    let opened = pairing::open(&**store, tenant, &username, public_url, clock.now()).await?;
    Ok((StatusCode::CREATED, axum::Json(opened)).into_response())
}

fn end(now: UnixMillis, lives_s: Option<u64>) -> Result<Option<UnixMillis>, Refusal> {
    match lives_s {
        Some(lives_s) if lives_s > KEY_MAX_S => {
            Err(unprocessable("a key that ends must end within ten years"))
        }
        ends => Ok(ends.map(|lives_s| now.plus_secs(lives_s))),
    }
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| ProblemCode::InvalidRequest.into())
}

pub(super) fn parse_id(id: &str) -> Result<ClientId, Refusal> {
    id.parse().map_err(|_| ProblemCode::NotFound.into())
}
