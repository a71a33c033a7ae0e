//! Initiators as the operator manages them: their keys, the networks that they call from and their
//! pages.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fido_relay_proto::http::Scope;
use fido_relay_proto::{Binding, ClientId, PlainText, Problem, ProblemCode, UnixMillis};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Admin, ClientPath, Operator, Order};
use crate::app::clients::{
    self, Client, ClientChange, ClientError, Credential, NewClient, PublicKey,
};
use crate::edge::problem_response::ProblemResponse;
use crate::rfc3339;
use crate::security::origin::Origin;

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
    /// Its public key as a JWK: then it gets no API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwk: Option<serde_json::Value>,
    /// Networks that it may call from; none: from anywhere.
    #[serde(default)]
    pub allow_from: Vec<IpNet>,
    /// Origins of its pages.
    #[serde(default)]
    pub page_origins: Vec<Origin>,
    /// Whether a code alone finds none of its ceremonies.
    #[serde(default)]
    pub no_code_alone: bool,
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
    pub client_id: ClientId,
    pub name: PlainText<64>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The bindings it may use.
    pub bindings: Vec<Binding>,
    /// Whether a code alone finds its ceremonies.
    #[serde(default = "yes")]
    pub code_alone: bool,
    /// Whether its `prior_auth` is believed although it has no scope for it: it was made by an
    /// earlier version, and the operator has not decided yet.
    #[serde(default)]
    pub prior_auth_undecided: bool,
    /// When it was made (RFC 3339).
    pub created_at: String,
    /// When its live keys end (RFC 3339), the oldest first; `null`: never.
    pub keys_end: Vec<Option<String>>,
    /// Names of its public keys.
    #[serde(default)]
    pub public_keys: Vec<PlainText<128>>,
    /// Networks that it may call from; none: from anywhere.
    #[serde(default)]
    pub allow_from: Vec<IpNet>,
    /// Origins of its pages.
    #[serde(default)]
    pub page_origins: Vec<Origin>,
}

fn yes() -> bool {
    true
}

impl ClientEntry {
    fn of(client: Client, now: UnixMillis) -> Self {
        let live = client.keys.iter().filter(|key| key.is_live(now));
        Self {
            client_id: client.id,
            code_alone: client.code_alone,
            prior_auth_undecided: !client.knows_prior_auth_scope,
            created_at: rfc3339::format(client.created_at),
            keys_end: live.map(|key| key.expires_at.map(rfc3339::format)).collect(),
            public_keys: client.public_keys.iter().map(|key| key.kid.clone()).collect(),
            allow_from: client.allow_from,
            page_origins: client.page_origins,
            name: client.name,
            scopes: client.scopes,
            bindings: client.bindings,
        }
    }
}

/// The answer to `POST /clients` and `POST /clients/{id}/keys`.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewKey {
    pub client_id: ClientId,
    /// The API key, shown this once. None where the client has a key pair of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The name of its public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<PlainText<128>>,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// A public key of a client, and the answer to one that was registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKeyEntry {
    /// What assertions name it by.
    pub kid: PlainText<128>,
    /// The one algorithm that it is used with, such as `ES256`.
    pub alg: String,
    /// Its RFC 7638 thumbprint.
    pub thumbprint: String,
    /// When it was registered (RFC 3339).
    pub created_at: String,
}

impl From<&PublicKey> for PublicKeyEntry {
    fn from(key: &PublicKey) -> Self {
        Self {
            kid: key.kid.clone(),
            alg: format!("{:?}", key.algorithm()),
            thumbprint: key.thumbprint(),
            created_at: rfc3339::format(key.created_at),
        }
    }
}

/// `POST /clients/{id}/public-keys/remove`: a `kid` may be anything, so it is no part of a path.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovePublicKey {
    pub kid: PlainText<128>,
}

impl From<ClientError> for ProblemResponse {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NotFound => {
                Problem::new(ProblemCode::NotFound).with_detail("there is no such client").into()
            }
            ClientError::TooManyKeys => {
                ProblemResponse::unprocessable("the client has two live keys")
            }
            error @ (ClientError::KidTaken
            | ClientError::TooManyPublicKeys
            | ClientError::NoSuchKid
            | ClientError::MayNothing
            | ClientError::KeyTooLong) => ProblemResponse::unprocessable(error.to_string()),
            ClientError::Store(error) => error.into(),
        }
    }
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Result<Response, ProblemResponse> {
    let now = admin.app.clock.now();
    let clients = admin.app.clients().list(&admin.tenant).await?;
    let entries: Vec<_> = clients.into_iter().map(|client| ClientEntry::of(client, now)).collect();
    Ok(axum::Json(entries).into_response())
}

pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    Operator(actor): Operator,
    Order(order): Order<CreateClient>,
) -> Result<Response, ProblemResponse> {
    let CreateClient {
        name,
        scopes,
        bindings,
        key_lives_s,
        jwk,
        allow_from,
        page_origins,
        no_code_alone,
    } = order;
    let now = admin.app.clock.now();
    let key_end = clients::key_end(now, key_lives_s)?;
    let public_key = jwk.map(|jwk| public_key(&jwk, now)).transpose()?;
    let kid = public_key.as_ref().map(|key| key.kid.clone());
    let credential = public_key.map_or(Credential::ApiKey(key_end), Credential::PublicKey);
    let new = NewClient { tenant: admin.tenant.clone(), name, scopes, bindings };
    let bounds = ClientChange {
        allow_from: Some(allow_from),
        page_origins: Some(page_origins),
        code_alone: Some(!no_code_alone),
        ..ClientChange::default()
    };
    let (client_id, key) = clients::create(&admin.app, &actor, new, &bounds, credential).await?;
    let made = NewKey { client_id, key: key.map(|key| key.expose().to_owned()), kid };
    Ok((StatusCode::CREATED, axum::Json(made)).into_response())
}

pub(super) async fn alter(
    State(admin): State<Arc<Admin>>,
    Operator(actor): Operator,
    ClientPath(id): ClientPath,
    Order(order): Order<ClientChange>,
) -> Result<StatusCode, ProblemResponse> {
    clients::alter(&admin.app, &actor, id, &order).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn public_keys(
    State(admin): State<Arc<Admin>>,
    ClientPath(id): ClientPath,
) -> Result<Response, ProblemResponse> {
    let found = admin.app.clients().find(&admin.tenant, id).await?;
    let client = found.ok_or(ClientError::NotFound)?;
    let entries: Vec<_> = client.public_keys.iter().map(PublicKeyEntry::from).collect();
    Ok(axum::Json(entries).into_response())
}

pub(super) async fn add_public_key(
    State(admin): State<Arc<Admin>>,
    Operator(actor): Operator,
    ClientPath(id): ClientPath,
    Order(jwk): Order<serde_json::Value>,
) -> Result<Response, ProblemResponse> {
    let key = public_key(&jwk, admin.app.clock.now())?;
    clients::add_public_key(&admin.app, &actor, id, &key).await?;
    Ok((StatusCode::CREATED, axum::Json(PublicKeyEntry::from(&key))).into_response())
}

pub(super) async fn remove_public_key(
    State(admin): State<Arc<Admin>>,
    Operator(actor): Operator,
    ClientPath(id): ClientPath,
    Order(RemovePublicKey { kid }): Order<RemovePublicKey>,
) -> Result<StatusCode, ProblemResponse> {
    clients::remove_public_key(&admin.app, &actor, id, kid.as_str()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn public_key(jwk: &serde_json::Value, now: UnixMillis) -> Result<PublicKey, ProblemResponse> {
    PublicKey::from_jwk(jwk, now).map_err(|error| ProblemResponse::unprocessable(error.to_string()))
}

pub(super) async fn remove(
    State(admin): State<Arc<Admin>>,
    Operator(actor): Operator,
    ClientPath(id): ClientPath,
) -> Result<StatusCode, ProblemResponse> {
    clients::remove(&admin.app, &actor, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn rotate_key(
    State(admin): State<Arc<Admin>>,
    Operator(actor): Operator,
    ClientPath(id): ClientPath,
    Order(RotateKey { key_lives_s, old_lives_s }): Order<RotateKey>,
) -> Result<Response, ProblemResponse> {
    let now = admin.app.clock.now();
    let (key_end, old_end) =
        (clients::key_end(now, key_lives_s)?, clients::key_end(now, Some(old_lives_s))?);
    let key = clients::add_key(&admin.app, &actor, id, key_end, old_end).await?;
    let made = NewKey { client_id: id, key: Some(key.expose().to_owned()), kid: None };
    Ok((StatusCode::CREATED, axum::Json(made)).into_response())
}
