//! Endpoints as they are stored: one record each, under the client that it belongs to, so that a
//! client's endpoints are one short range and another client's cannot be named.

use std::collections::BTreeMap;

use fido_relay_proto::webhook::{WebhookEvent, WebhookState};
use fido_relay_proto::{ClientId, EventId, TenantId, UnixMillis, WebhookId};
use serde::{Deserialize, Serialize};

use super::schedule::RETRIES_S;
use super::signing::SigningKey;
use crate::ports::{Batch, Bucket, Record, Registrar, Revision, Store, StoreError, records};

/// How often a change is tried again because somebody else changed the endpoint meanwhile.
pub(super) const RACES: usize = 16;

/// Which endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey {
    pub(super) tenant: TenantId,
    pub(super) client: ClientId,
    pub(super) id: WebhookId,
}

impl std::fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.tenant, self.client, self.id)
    }
}

impl EndpointKey {
    /// The key of one of its deliveries.
    pub(super) fn delivery(&self, event: EventId) -> String {
        format!("{self}.{event}")
    }

    /// What a delivery's key names.
    pub(super) fn of_delivery(key: &str) -> Option<(Self, EventId)> {
        let mut parts = key.split('.');
        let endpoint = Self {
            tenant: parts.next()?.parse().ok()?,
            client: parts.next()?.parse().ok()?,
            id: parts.next()?.parse().ok()?,
        };
        let event = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some((endpoint, event))
    }
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Which.
    pub id: WebhookId,
    /// Its relying party.
    pub tenant: TenantId,
    /// Whose.
    pub client: ClientId,
    /// Where to, in its normal form.
    pub url: String,
    /// What it is told.
    pub events: Vec<WebhookEvent>,
    /// Whether it is sent anything.
    pub state: WebhookState,
    /// Whether the operator registered it, on whatever host.
    pub by_operator: bool,
    /// What signs, the oldest first.
    pub keys: Vec<SigningKey>,
    /// When it was registered.
    pub created_at: UnixMillis,
    /// When it answered 410, while it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<UnixMillis>,
    /// When an event was added, for events that it did not have when it was registered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told_from: BTreeMap<WebhookEvent, UnixMillis>,
}

impl Record for Endpoint {}

impl Endpoint {
    pub(super) fn key(&self) -> EndpointKey {
        EndpointKey { tenant: self.tenant.clone(), client: self.client, id: self.id }
    }

    pub(super) const fn registrar(&self) -> Registrar {
        if self.by_operator { Registrar::Operator } else { Registrar::Client }
    }

    /// Whether this, which happened then, is kept for it: while it is gone for as long as what
    /// waits is tried, so that one that comes back within that time has lost nothing.
    pub(super) fn wants(&self, event: WebhookEvent, at: UnixMillis) -> bool {
        let from = self.told_from.get(&event).unwrap_or(&self.created_at);
        let in_time = match self.state {
            WebhookState::Enabled => true,
            WebhookState::Gone => self.is_missed_by(at),
        };
        in_time && *from <= at && self.events.contains(&event)
    }

    /// Whether what happens then is still kept for it although it is gone.
    fn is_missed_by(&self, at: UnixMillis) -> bool {
        self.gone_at.is_some_and(|gone_at| at < gone_at.plus_secs(RETRIES_S))
    }

    /// The endpoint answered 410. Once more does not put the time off.
    pub(super) fn leave(&mut self, now: UnixMillis) {
        if self.state == WebhookState::Enabled {
            self.state = WebhookState::Gone;
            self.gone_at = Some(now);
        }
    }

    /// It is sent to again. What was not kept while it was gone is not found later either.
    pub(super) fn come_back(&mut self, now: UnixMillis) {
        if self.state == WebhookState::Gone && !self.is_missed_by(now) {
            self.told_from = self.events.iter().map(|event| (*event, now)).collect();
        }
        (self.state, self.gone_at) = (WebhookState::Enabled, None);
    }

    /// Replaces its events; those that are new to it start now.
    pub(super) fn listen_to(&mut self, events: Vec<WebhookEvent>, now: UnixMillis) {
        self.told_from.retain(|event, _| events.contains(event));
        for event in events.iter().filter(|event| !self.events.contains(event)) {
            self.told_from.insert(*event, now);
        }
        self.events = events;
    }
}

pub(super) async fn load(
    store: &dyn Store,
    key: &EndpointKey,
) -> Result<Option<(Endpoint, Revision)>, StoreError> {
    records::load(store, Bucket::Webhooks, &key.to_string()).await
}

pub(super) fn put(
    batch: Batch,
    endpoint: &Endpoint,
    expected: Revision,
) -> Result<Batch, StoreError> {
    records::put(batch, Bucket::Webhooks, &endpoint.key().to_string(), expected, endpoint)
}

/// A client's endpoints, or those of all clients, in the order of their keys.
pub(super) async fn list(
    store: &dyn Store,
    tenant: &TenantId,
    client: Option<ClientId>,
) -> Result<Vec<Endpoint>, StoreError> {
    let found = listed(store, tenant, client).await?;
    Ok(found.into_iter().map(|(endpoint, _)| endpoint).collect())
}

/// The same with their revisions.
pub(super) async fn listed(
    store: &dyn Store,
    tenant: &TenantId,
    client: Option<ClientId>,
) -> Result<Vec<(Endpoint, Revision)>, StoreError> {
    let prefix = match client {
        Some(client) => format!("{tenant}.{client}."),
        None => format!("{tenant}."),
    };
    let found = store.list(Bucket::Webhooks, &prefix).await?;
    // One that this build cannot read must not keep the others from what they wait for.
    let readable = found.iter().filter_map(|(key, stored)| match records::parse(stored) {
        Ok(endpoint) => Some((endpoint, stored.revision)),
        Err(error) => {
            tracing::error!(
                %error, key,
                "a webhook endpoint cannot be read: it gets no deliveries"
            );
            None
        }
    });
    Ok(readable.collect())
}

/// Changes an endpoint and gives it as it then is; `None`: there is no such endpoint.
pub(super) async fn change<E>(
    store: &dyn Store,
    key: &EndpointKey,
    change: impl Fn(&mut Endpoint) -> Result<(), E> + Send,
) -> Result<Option<Result<Endpoint, E>>, StoreError> {
    for _ in 0..RACES {
        let Some((mut endpoint, revision)) = load(store, key).await? else { return Ok(None) };
        if let Err(refusal) = change(&mut endpoint) {
            return Ok(Some(Err(refusal)));
        }
        match store.commit(put(Batch::new(), &endpoint, revision)?).await {
            Ok(_) => return Ok(Some(Ok(endpoint))),
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::too_many_races())
}
