//! An initiator's record and its changes. It knows no store.
//!
//! An API key is `rk_` and 32 random bytes in base64url, shown once; the record has its SHA-256,
//! which needs no salt because 256 bits cannot be guessed. A client has at most two live keys, so
//! that a new one can be rolled out before the old one ends.

use std::fmt;
use std::net::IpAddr;

use fido_relay_proto::http::{ClientView, Scope};
use fido_relay_proto::webhook::WebhookEvent;
use fido_relay_proto::{Binding, ClientId, PlainText, TenantId, UnixMillis};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::encoding::{from_base64url, sha256_base64url};
use crate::ports::{Record, StoreError};
use crate::security::origin::Origin;
use crate::security::public_key::PublicKey;
use crate::security::random;

/// What every API key begins with, so that scanners find one that leaked.
const PREFIX: &str = "rk_";
/// Longest that a key may be asked to live: ten years, in seconds.
pub const KEY_MAX_S: u64 = 10 * 365 * 24 * 3600;
/// Keys of one client that may be live at the same time.
pub const LIVE_KEYS: usize = 2;
/// Public keys of one client at the same time: the old and the new one, and some for clusters whose
/// members have their own.
pub const PUBLIC_KEYS: usize = 8;

/// Why a client was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error("there is no such client")]
    NotFound,
    #[error("the client already has {LIVE_KEYS} live keys")]
    TooManyKeys,
    #[error("the client already has a public key of this kid")]
    KidTaken,
    #[error("the client already has {PUBLIC_KEYS} public keys")]
    TooManyPublicKeys,
    #[error("the client has no public key of this kid")]
    NoSuchKid,
    #[error("a client needs a scope and a binding")]
    MayNothing,
    #[error("a key that ends must end within ten years")]
    KeyTooLong,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// When a key ends that is to live this long from now on; without a length it does not end.
///
/// # Errors
/// [`ClientError::KeyTooLong`].
pub fn key_end(now: UnixMillis, lives_s: Option<u64>) -> Result<Option<UnixMillis>, ClientError> {
    if lives_s.is_some_and(|lives_s| lives_s > KEY_MAX_S) {
        return Err(ClientError::KeyTooLong);
    }
    Ok(lives_s.map(|lives_s| now.plus_secs(lives_s)))
}

/// The scope that a client lacks for what it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("needs the scope {}", .0.as_str())]
pub struct MissingScope(pub Scope);

/// The key of a client's record.
pub(super) fn record_key(tenant: &TenantId, id: ClientId) -> String {
    format!("{tenant}.{id}")
}

/// The name under which an API key is stored.
pub(super) fn hash(key: &str) -> String {
    sha256_base64url(key)
}

/// Whether a bearer credential can be an API key at all: anything else costs the store nothing.
pub(super) fn is_well_formed(bearer: &str) -> bool {
    let Some(body) = bearer.strip_prefix(PREFIX) else { return false };
    body.len() == 43 && from_base64url(body).is_some_and(|bytes| bytes.len() == 32)
}

fn yes() -> bool {
    true
}

/// One initiator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    pub id: ClientId,
    /// Its relying party.
    pub tenant: TenantId,
    /// Its name, as devices show it.
    pub name: PlainText<64>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The bindings it may use.
    pub bindings: Vec<Binding>,
    /// Whether a code alone finds its ceremonies.
    #[serde(default = "yes")]
    pub code_alone: bool,
    /// Whether it was decided if its `prior_auth` is believed; not of a client of an earlier version,
    /// which had no such scope: it keeps what it had.
    #[serde(default)]
    pub knows_prior_auth_scope: bool,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Its keys, the oldest first.
    pub keys: Vec<KeyEntry>,
    /// Networks that it may call from; none: from anywhere.
    #[serde(default)]
    pub allow_from: Vec<IpNet>,
    /// Origins of its pages: which of them may watch its ceremonies with a ticket.
    #[serde(default)]
    pub page_origins: Vec<Origin>,
    /// Public keys whose owner it is, the oldest first.
    #[serde(default)]
    pub public_keys: Vec<PublicKey>,
}

impl Record for Client {}

impl Client {
    /// Whether the client has a scope.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// # Errors
    /// Without the scope.
    pub fn require(&self, scope: Scope) -> Result<(), MissingScope> {
        if self.has(scope) { Ok(()) } else { Err(MissingScope(scope)) }
    }

    /// Whether it may have webhooks for these events: those about every user's devices and cards
    /// need the scope that lists them.
    ///
    /// # Errors
    /// Without the scope.
    pub fn may_hear(&self, events: &[WebhookEvent]) -> Result<(), MissingScope> {
        events.iter().try_for_each(|event| match event {
            WebhookEvent::DevicePaired | WebhookEvent::DeviceRevoked => {
                self.require(Scope::DevicePair)
            }
            WebhookEvent::CardRegistered
            | WebhookEvent::CardRemoved
            | WebhookEvent::CardCloneSuspected => self.require(Scope::CardRead),
            WebhookEvent::CeremonyClosed | WebhookEvent::UserNotMe => Ok(()),
        })
    }

    /// The scopes of an access token: those that are asked for, separated by spaces, or all that it
    /// has; none: it does not have all of them.
    #[must_use]
    pub fn granted(&self, asked: Option<&str>) -> Option<Vec<Scope>> {
        let Some(asked) = asked else { return Some(self.scopes.clone()) };
        let mut asked: Vec<Scope> =
            asked.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        asked.sort_unstable();
        asked.dedup();
        asked.iter().all(|scope| self.has(*scope)).then_some(asked)
    }

    /// Whether its word on how it knew a user is believed.
    #[must_use]
    pub fn is_believed(&self) -> bool {
        self.has(Scope::PriorAuthAssert) || !self.knows_prior_auth_scope
    }

    /// Whether the client may call from this address. A request without one, which no listener
    /// makes, is taken only from a client without a list of networks.
    #[must_use]
    pub fn may_call_from(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return self.allow_from.is_empty() };
        // An IPv4 caller on a socket of both kinds arrives as `::ffff:a.b.c.d`.
        let address = address.to_canonical();
        self.allow_from.is_empty() || self.allow_from.iter().any(|net| net.contains(&address))
    }

    #[must_use]
    pub(super) fn has_page(&self, origin: &str) -> bool {
        self.page_origins.iter().any(|listed| listed.as_str() == origin)
    }

    /// Whether the client has the public key with this thumbprint.
    #[must_use]
    pub fn has_public_key(&self, thumbprint: &str) -> bool {
        self.public_keys.iter().any(|key| key.thumbprint() == thumbprint)
    }

    /// A client without a key.
    #[must_use]
    pub fn new(new: NewClient, now: UnixMillis) -> Self {
        let NewClient { tenant, name, mut scopes, mut bindings } = new;
        scopes.sort_unstable();
        scopes.dedup();
        bindings.dedup();
        Self {
            id: ClientId::from_bytes(random::bytes()),
            tenant,
            name,
            scopes,
            bindings,
            code_alone: true,
            knows_prior_auth_scope: true,
            created_at: now,
            keys: Vec::new(),
            allow_from: Vec::new(),
            page_origins: Vec::new(),
            public_keys: Vec::new(),
        }
    }

    /// Gives the client another key, which ends at `expires_at`. With `others_end`, the newest of its
    /// other keys ends then at the latest and older ones at once.
    ///
    /// # Errors
    /// [`ClientError::TooManyKeys`], without `others_end` and with two keys that live.
    pub fn add_key(
        &mut self,
        key: &ApiKey,
        expires_at: Option<UnixMillis>,
        others_end: Option<UnixMillis>,
        now: UnixMillis,
    ) -> Result<(), ClientError> {
        let mut live: Vec<_> = self.keys.iter().filter(|key| key.is_live(now)).cloned().collect();
        if let Some(end) = others_end {
            live.drain(..live.len().saturating_sub(1));
            for newest in &mut live {
                newest.expires_at = Some(newest.expires_at.map_or(end, |own| own.min(end)));
            }
        } else if live.len() >= LIVE_KEYS {
            return Err(ClientError::TooManyKeys);
        }
        live.push(KeyEntry { hash: hash(key.expose()), created_at: now, expires_at });
        self.keys = live;
        Ok(())
    }

    /// Registers a public key.
    ///
    /// # Errors
    /// [`ClientError::KidTaken`], [`ClientError::TooManyPublicKeys`].
    pub fn add_public_key(&mut self, key: PublicKey) -> Result<(), ClientError> {
        if self.public_keys.iter().any(|known| known.kid == key.kid) {
            return Err(ClientError::KidTaken);
        }
        if self.public_keys.len() >= PUBLIC_KEYS {
            return Err(ClientError::TooManyPublicKeys);
        }
        self.public_keys.push(key);
        Ok(())
    }

    /// Takes a public key away.
    ///
    /// # Errors
    /// [`ClientError::NoSuchKid`].
    pub fn remove_public_key(&mut self, kid: &str) -> Result<(), ClientError> {
        let before = self.public_keys.len();
        self.public_keys.retain(|key| key.kid.as_str() != kid);
        if self.public_keys.len() < before { Ok(()) } else { Err(ClientError::NoSuchKid) }
    }

    /// Changes what `change` names.
    pub fn apply(&mut self, change: &ClientChange) {
        let ClientChange { allow_from, page_origins, end_api_keys, code_alone, prior_auth } =
            change;
        if let Some(code_alone) = code_alone {
            self.code_alone = *code_alone;
        }
        if let Some(is_believed) = prior_auth {
            self.knows_prior_auth_scope = true;
            self.scopes.retain(|scope| *scope != Scope::PriorAuthAssert);
            self.scopes.extend(is_believed.then_some(Scope::PriorAuthAssert));
        }
        if *end_api_keys {
            self.keys.clear();
        }
        if let Some(networks) = allow_from {
            self.allow_from = networks.iter().map(IpNet::trunc).collect();
            self.allow_from.sort_unstable();
            self.allow_from.dedup();
        }
        if let Some(origins) = page_origins {
            self.page_origins.clone_from(origins);
            self.page_origins.sort_unstable();
            self.page_origins.dedup();
        }
    }

    /// The client as it may see itself.
    #[must_use]
    pub fn view(&self) -> ClientView {
        ClientView {
            client_id: self.id,
            name: self.name.clone(),
            scopes: self.scopes.clone(),
            bindings: self.bindings.clone(),
            allow_from: self.allow_from.iter().map(ToString::to_string).collect(),
            page_origins: self.page_origins.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What is kept of an API key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// Names the key in the store.
    pub(super) hash: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// From when on it is refused; `None`: never.
    pub expires_at: Option<UnixMillis>,
}

impl KeyEntry {
    /// Whether the key is still taken.
    #[must_use]
    pub fn is_live(&self, now: UnixMillis) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

impl fmt::Debug for KeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEntry")
            .field("created_at", &self.created_at)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// An API key in the clear, to be shown once.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// A new one.
    #[must_use]
    pub fn generate() -> Self {
        Self(format!("{PREFIX}{}", random::token()))
    }

    /// The key, for whoever is to keep it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// A client to be made.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// Its relying party.
    pub tenant: TenantId,
    /// Its name, as devices show it.
    pub name: PlainText<64>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The bindings it may use.
    pub bindings: Vec<Binding>,
}

/// What is to change of a client; `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientChange {
    /// The networks that it may call from, all of them; none: from anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_from: Option<Vec<IpNet>>,
    /// The origins of its pages, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_origins: Option<Vec<Origin>>,
    /// Ends its API keys at once: from then on it signs assertions with its own key.
    #[serde(default)]
    pub end_api_keys: bool,
    /// Whether a code alone finds its ceremonies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_alone: Option<bool>,
    /// Whether its word on how it knew a user is believed (the scope `prior_auth:assert`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior_auth: Option<bool>,
}

impl ClientChange {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
