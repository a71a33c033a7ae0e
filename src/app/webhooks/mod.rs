//! Webhooks by Standard Webhooks 1.0: initiators' backends are told what happened, at least once.
//!
//! ```text
//!   journal ─▶ fan-out ─▶ outbox (store) ─▶ dispatcher ─▶ lane (one per endpoint)
//!                │ one batch with its cursor    ▲   due │      breaker, in-flight bound
//!                │                              │       ▼
//!                └──────────── "due" ───────────┘   attempt: sign, send, store
//!                                                        │
//!                          ports::WebhookSender ◀────────┘
//! ```
//! The store is the truth: a delivery is recorded before it is sent, its end is stored before it
//! is forgotten, and what is in memory is built anew at the start. A delivery that arrived and
//! could not be noted arrives again, with the same `webhook-id`.
//!
//! Knows endpoints, events, keys and time; knows nothing of HTTP, of addresses (that is the
//! sender's) or of who may do what (that is the edge's).

mod attempt;
mod deliveries;
mod dispatcher;
mod endpoint;
mod endpoint_queue;
mod event;
mod fan_out;
mod figures;
mod outbox;
mod schedule;
mod signing;
#[cfg(test)]
mod tests;
mod upgrade;

use std::collections::BTreeMap;
use std::sync::Arc;

use fido_relay_proto::limits::WEBHOOK_OLD_KEYS_MAX_S;
use fido_relay_proto::webhook::{
    ChangeWebhook, CreateWebhook, RotateWebhook, TestedWebhook, WebhookNews, WebhookScheme,
    WebhookState,
};
use fido_relay_proto::{ClientId, EventId, TenantId, UnixMillis, WebhookId};
use tokio::sync::mpsc;

use self::dispatcher::{Dispatcher, Order};
use self::event::QueuedEvent;
use self::fan_out::FanOut;
use self::figures::Figures;
use crate::journal::{Cursor, JournalReader, Progress};
use crate::ports::{
    Batch, Bucket, Clock, DueRule, Registrar, Revision, SecurityEvent, SecurityEventKind, Store,
    StoreError, Unsendable, WebhookSender,
};
use crate::security::encryption::Encryptor;
use crate::security::random;
use crate::tasks::Tasks;

pub use self::deliveries::{LISTED, Undelivered};
pub use self::endpoint::{Endpoint, EndpointKey};
pub use self::figures::WebhookFigures;
pub use self::signing::SigningKey;

/// What the records of deliveries are due for.
pub const DUE: [DueRule; 2] = [outbox::OUTBOX, upgrade::DELIVERED];

/// The webhooks that one entry of the journal causes, where an endpoint wants them: id and body.
#[cfg(feature = "test-support")]
#[must_use]
pub fn of_entry(entry: &str) -> Vec<(EventId, String)> {
    let events = event::of_entry(entry).into_iter();
    events.filter_map(|event| Some((event.told.id, event.told.body()?))).collect()
}

/// Endpoints of one client.
pub const ENDPOINTS: usize = 16;
/// Keys of one endpoint that live at the same time.
const LIVE_KEYS: usize = 4;
/// Orders that wait for the dispatcher.
const ORDERS: usize = 1024;

/// What webhooks stand on.
#[derive(Debug)]
struct WebhookDependencies {
    store: Arc<dyn Store>,
    sealer: Encryptor,
    clock: Arc<dyn Clock>,
    sender: Arc<dyn WebhookSender>,
    figures: Figures,
}

/// Why an endpoint was not made or changed. The texts are for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// There is none, or it is another client's.
    #[error("there is no such webhook")]
    NotFound,
    #[error("there is no such client")]
    NoClient,
    /// The URL.
    #[error("/url: {0}")]
    Url(#[from] Unsendable),
    /// Nothing to tell, or no way to sign, or one of them twice.
    #[error("/events, /schemes: at least one entry each, none twice")]
    Lists,
    /// The client has [`ENDPOINTS`].
    #[error("the client has as many webhooks as allowed")]
    TooMany,
    /// The endpoint has its live keys.
    #[error("the webhook has as many live keys as allowed: let old ones end first")]
    TooManyKeys,
    /// Longer than [`WEBHOOK_OLD_KEYS_MAX_S`].
    #[error("/old_lives_s: a whole number from 0 to {WEBHOOK_OLD_KEYS_MAX_S}, which is 30 days")]
    OldKeys,
    /// Neither another URL nor other events.
    #[error("/url, /events: give at least one of the two")]
    Unchanged,
    /// The endpoint answered 410.
    #[error("the webhook answered 410: enable it first")]
    Gone,
    /// No key can be made.
    #[error("no key could be made")]
    Keys,
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Endpoints and what they are sent. Clones are the same.
#[derive(Clone, Debug)]
pub struct Webhooks {
    ground: Arc<WebhookDependencies>,
    /// The dispatcher, if it runs.
    running: Option<mpsc::Sender<Order>>,
}

impl Webhooks {
    /// Endpoints that can be managed while no relay runs: nothing is sent.
    #[must_use]
    pub fn at_rest(
        store: Arc<dyn Store>,
        sealer: Encryptor,
        clock: Arc<dyn Clock>,
        sender: Arc<dyn WebhookSender>,
    ) -> Self {
        let figures = Figures::default();
        let ground = Arc::new(WebhookDependencies { store, sealer, clock, sender, figures });
        Self { ground, running: None }
    }

    /// Reads the journal and sends until the tasks are stopped. After an upgrade from a version
    /// without a journal, what that version did not tell is told first. Gives also what the journal
    /// need not keep for it.
    ///
    /// # Errors
    /// The store's.
    pub async fn start(mut self, tasks: &Tasks) -> Result<(Self, Progress), StoreError> {
        let ground = Arc::clone(&self.ground);
        let mut reader = JournalReader::open(Arc::clone(&ground.store), fan_out::READER).await?;
        let next = match reader.stored() {
            Some(cursor) => cursor.next,
            None => {
                upgrade::recover(&ground).await?;
                reader.save(Batch::new(), Cursor::default()).await?;
                Default::default()
            }
        };
        let (orders, waiting) = mpsc::channel(ORDERS);
        let (progress, stopping) = (reader.progress(), tasks.stopping());
        let dispatcher = Dispatcher::new(Arc::clone(&ground));
        tasks.spawn_vital("webhooks", dispatcher.run(waiting, stopping.clone()));
        let fan_out = FanOut { ground, reader, next, orders: orders.clone() };
        tasks.spawn_vital("webhook fan-out", fan_out.run(stopping.clone()));
        self.running = Some(orders);
        Ok((self, progress))
    }

    /// How deliveries fare.
    #[must_use]
    pub fn figures(&self) -> WebhookFigures {
        self.ground.figures.read()
    }

    /// Registers an endpoint, with its entry of the journal; gives it with its `v1` secret, the one
    /// time that it is seen. `operator` is who does it for the client, none the client itself.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn register(
        &self,
        (tenant, client): (&TenantId, ClientId),
        order: CreateWebhook,
        operator: Option<&str>,
    ) -> Result<(Endpoint, Option<String>), WebhookError> {
        let CreateWebhook { url, events, schemes } = order;
        let (store, owner) = (&*self.ground.store, format!("{tenant}.{client}"));
        let revision_of_owner = || async {
            let found = store.load(Bucket::Clients, &owner).await?;
            Ok::<_, WebhookError>(found.ok_or(WebhookError::NoClient)?.revision)
        };
        let mut revision = revision_of_owner().await?;
        let registrar = registrar(operator);
        let url = self.ground.sender.permits(&url, registrar)?;
        let (events, schemes) = (listed_once(events)?, listed_once(schemes)?);
        if endpoint::list(store, tenant, Some(client)).await?.len() >= ENDPOINTS {
            return Err(WebhookError::TooMany);
        }
        let now = self.ground.clock.now();
        let id = WebhookId::from_bytes(random::bytes());
        let (mut keys, mut secret) = (Vec::new(), None);
        for scheme in schemes {
            let (key, shown) = self.make_key(id, scheme, now)?;
            keys.push(key);
            secret = secret.or(shown);
        }
        let endpoint = Endpoint {
            id,
            tenant: tenant.clone(),
            client,
            url: url.into(),
            events,
            state: WebhookState::Enabled,
            by_operator: registrar == Registrar::Operator,
            keys,
            created_at: now,
            gone_at: None,
            told_from: BTreeMap::new(),
        };
        let what = SecurityEventKind::WebhookMade { webhook_id: id, client_id: client };
        // A client that is removed meanwhile leaves no endpoint behind.
        let entry = entry(tenant, now, what, operator);
        for _ in 0..endpoint::RACES {
            let batch = Batch::new().check(Bucket::Clients, &owner, revision).entry(entry.clone());
            match store.commit(endpoint::put(batch, &endpoint, Revision::ABSENT)?).await {
                Ok(_) => return Ok((endpoint, secret)),
                Err(StoreError::Conflict(_)) => revision = revision_of_owner().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::too_many_races().into())
    }

    /// The client's endpoints, in the order of their ids.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(
        &self,
        tenant: &TenantId,
        client: ClientId,
    ) -> Result<Vec<Endpoint>, StoreError> {
        endpoint::list(&*self.ground.store, tenant, Some(client)).await
    }

    /// The endpoints of all clients.
    ///
    /// # Errors
    /// The store's.
    pub async fn list_all(&self, tenant: &TenantId) -> Result<Vec<Endpoint>, StoreError> {
        endpoint::list(&*self.ground.store, tenant, None).await
    }

    /// One endpoint of the client.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn load(
        &self,
        tenant: &TenantId,
        client: ClientId,
        id: WebhookId,
    ) -> Result<Endpoint, WebhookError> {
        let key = EndpointKey { tenant: tenant.clone(), client, id };
        let found = endpoint::load(&*self.ground.store, &key).await?;
        found.map(|(endpoint, _)| endpoint).ok_or(WebhookError::NotFound)
    }

    /// Changes an endpoint's URL or events. Deliveries that wait go to the new URL; events that are
    /// new to it start now.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn change(
        &self,
        endpoint: &Endpoint,
        order: ChangeWebhook,
        registrar: Registrar,
    ) -> Result<Endpoint, WebhookError> {
        let ChangeWebhook { url, events } = order;
        if url.is_none() && events.is_none() {
            return Err(WebhookError::Unchanged);
        }
        let moves = url.is_some();
        // The URL that it has stays, with the registrar who gave it.
        let url = url.filter(|url| *url != endpoint.url);
        let url = url.map(|url| self.ground.sender.permits(&url, registrar)).transpose()?;
        let events = events.map(listed_once).transpose()?;
        let now = self.ground.clock.now();
        let place = endpoint.key();
        let changed = endpoint::change(&*self.ground.store, &place, |endpoint| {
            if let Some(url) = &url {
                endpoint.url = url.to_string();
                endpoint.by_operator = registrar == Registrar::Operator;
            }
            if let Some(events) = &events {
                endpoint.listen_to(events.clone(), now);
            }
            Ok::<(), WebhookError>(())
        });
        let changed = changed.await?.ok_or(WebhookError::NotFound)??;
        // Also where a call whose answer was lost had moved it before.
        if moves && changed.state == WebhookState::Enabled {
            self.order(Order::Reopen(place)).await;
        }
        Ok(changed)
    }

    /// Removes an endpoint, with its entry of the journal, and all that is kept of its deliveries.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn remove(
        &self,
        endpoint: &Endpoint,
        operator: Option<&str>,
    ) -> Result<(), WebhookError> {
        let (store, key) = (&*self.ground.store, endpoint.key());
        // Before the endpoint, so that a removal that fails on the way can be repeated; and after
        // it, for what came meanwhile.
        outbox::purge(store, &key).await?;
        loop {
            let Some((_, revision)) = endpoint::load(store, &key).await? else {
                return Err(WebhookError::NotFound);
            };
            let batch = self.without(Batch::new(), &key, revision, operator);
            match store.commit(batch).await {
                Ok(_) => break,
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.forget(&[key]).await?)
    }

    /// Adds to the batch that removes a client the removal of its endpoints, each with its entry of
    /// the journal. Gives their keys, to be [forgotten](Self::forget) once the batch is committed.
    ///
    /// # Errors
    /// The store's.
    pub async fn removal(
        &self,
        mut batch: Batch,
        (tenant, client): (&TenantId, ClientId),
        operator: Option<&str>,
    ) -> Result<(Batch, Vec<EndpointKey>), StoreError> {
        let store = &*self.ground.store;
        let mut keys = Vec::new();
        let mut all = endpoint::list(store, tenant, Some(client)).await?;
        // Registrations at one moment may have made more than one batch takes.
        for beyond in all.split_off(all.len().min(ENDPOINTS)) {
            if let Err(WebhookError::Store(error)) = self.remove(&beyond, operator).await {
                return Err(error);
            }
        }
        for endpoint in all {
            let key = endpoint.key();
            if let Some((_, revision)) = endpoint::load(store, &key).await? {
                batch = self.without(batch, &key, revision, operator);
                keys.push(key);
            }
        }
        Ok((batch, keys))
    }

    fn without(
        &self,
        batch: Batch,
        key: &EndpointKey,
        revision: Revision,
        operator: Option<&str>,
    ) -> Batch {
        let EndpointKey { tenant, client, id } = key;
        let what = SecurityEventKind::WebhookRemoved { webhook_id: *id, client_id: *client };
        let batch = batch.entry(entry(tenant, self.ground.clock.now(), what, operator));
        batch.remove(Bucket::Webhooks, &key.to_string(), revision)
    }

    /// Throws away what is kept of the deliveries of endpoints that were removed.
    ///
    /// # Errors
    /// The store's; the next start throws the rest away.
    pub async fn forget(&self, removed: &[EndpointKey]) -> Result<(), StoreError> {
        for key in removed {
            self.order(Order::Forget(key.clone())).await;
            outbox::purge(&*self.ground.store, key).await?;
        }
        Ok(())
    }

    /// Makes a key; earlier ones of its scheme end after a while. Gives the endpoint with the new
    /// `v1` secret, the one time that it is seen.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn rotate(
        &self,
        endpoint: &Endpoint,
        order: RotateWebhook,
    ) -> Result<(Endpoint, Option<String>), WebhookError> {
        if order.old_lives_s > WEBHOOK_OLD_KEYS_MAX_S {
            return Err(WebhookError::OldKeys);
        }
        let now = self.ground.clock.now();
        let (key, secret) = self.make_key(endpoint.id, order.scheme, now)?;
        let end = now.plus_secs(order.old_lives_s);
        let place = endpoint.key();
        let changed = endpoint::change(&*self.ground.store, &place, |endpoint| {
            for old in endpoint.keys.iter_mut().filter(|old| old.scheme == order.scheme) {
                old.ends_at = Some(old.ends_at.map_or(end, |own| own.min(end)));
            }
            endpoint.keys.retain(|old| old.is_live(now));
            if endpoint.keys.len() >= LIVE_KEYS {
                return Err(WebhookError::TooManyKeys);
            }
            endpoint.keys.push(key.clone());
            Ok(())
        });
        Ok((changed.await?.ok_or(WebhookError::NotFound)??, secret))
    }

    /// Sends again to an endpoint that answered 410. What became a dead letter stays one. One that
    /// is not gone is tried at once, if something waits for it.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn enable(&self, endpoint: &Endpoint) -> Result<Endpoint, WebhookError> {
        let (place, now) = (endpoint.key(), self.ground.clock.now());
        let changed = endpoint::change(&*self.ground.store, &place, |endpoint| {
            endpoint.come_back(now);
            Ok::<(), WebhookError>(())
        });
        let changed = changed.await?.ok_or(WebhookError::NotFound)??;
        self.order(Order::Reopen(endpoint.key())).await;
        Ok(changed)
    }

    /// Sends a test event at once, and only once.
    pub async fn test(&self, endpoint: &Endpoint) -> TestedWebhook {
        let news = WebhookNews::Test { id: endpoint.id };
        let id = EventId::from_bytes(random::bytes());
        let told = QueuedEvent { id, at: self.ground.clock.now(), news };
        let body = told.body().unwrap_or_default();
        let sent = attempt::send(&self.ground, endpoint, (id, &body)).await;
        TestedWebhook {
            delivered: sent.failure.is_none(),
            status: sent.status,
            failure: sent.failure,
        }
    }

    /// Tells the dispatcher, if there is one; otherwise the next start reads it in the store.
    async fn order(&self, order: Order) {
        if let Some(orders) = &self.running {
            drop(orders.send(order).await);
        }
    }

    fn make_key(
        &self,
        id: WebhookId,
        scheme: WebhookScheme,
        now: UnixMillis,
    ) -> Result<(SigningKey, Option<String>), WebhookError> {
        SigningKey::make(id, scheme, &self.ground.sealer, now).map_err(|_| WebhookError::Keys)
    }
}

fn registrar(operator: Option<&str>) -> Registrar {
    if operator.is_some() { Registrar::Operator } else { Registrar::Client }
}

fn entry(
    tenant: &TenantId,
    at: UnixMillis,
    what: SecurityEventKind,
    operator: Option<&str>,
) -> String {
    let operator = operator.map(str::to_owned);
    SecurityEvent { operator, ..SecurityEvent::new(tenant.clone(), at, what) }.entry()
}

/// The list in order: at least one entry, none twice.
fn listed_once<T: Ord>(mut list: Vec<T>) -> Result<Vec<T>, WebhookError> {
    let asked = list.len();
    list.sort_unstable();
    list.dedup();
    if list.len() == asked && asked > 0 { Ok(list) } else { Err(WebhookError::Lists) }
}
