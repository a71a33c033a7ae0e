//! What is done to devices, pairings, initiators, cards and users, a file or folder for each noun. HTTP
//! handlers, the operator's socket and the command line parse, call these functions and render what
//! they give; they decide nothing themselves.
//!
//! Every act is one [`Batch`]: the records that it changes and the entry of the journal that says so
//! are committed together or not at all. An act whose batch meets a conflict is decided anew.

pub mod audit;
pub mod cards;
pub mod ceremonies;
pub mod clients;
pub mod devices;
pub mod event_tickets;
pub mod keys;
pub mod pairings;
pub mod retention;
mod revocation_sync;
#[cfg(test)]
mod tests;
pub mod users;
pub mod webhooks;

pub use self::revocation_sync::{RevocationSync, still_stored};

use std::sync::Arc;

use fido_relay_proto::{ClientId, TenantId, UnixMillis};
use serde::de::DeserializeOwned;

use crate::app::clients::{Client, Clients};
use crate::app::webhooks::Webhooks;
use crate::core::prompt_limits::Policy;
use crate::ports::{
    Batch, Bucket, Bus, Cards, Clock, Push, Revocations, SecurityEvent, SecurityEventKind, Store,
    StoreError, records,
};
use crate::tasks::Tasks;

/// How often an act is decided anew because another write came first. Each loss means that another
/// write went through, so this many in a row is a fault, not bad luck.
const RACES: usize = 64;
/// Most characters of an operator's name.
const OPERATOR_NAME: usize = 64;
/// Records read at a time.
const PAGE: usize = 256;

/// What acts need of the world. Clones are the same.
#[derive(Clone, Debug)]
pub struct App {
    /// Durable records and the journal.
    pub store: Arc<dyn Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// "Look again" between nodes, for what an act changes.
    pub bus: Arc<dyn Bus>,
    /// Revoked devices and removed cards, apart from the store.
    pub revocations: Arc<dyn Revocations>,
    /// The FIDO2 server's cards, if it keeps them here.
    pub cards: Option<Arc<dyn Cards>>,
    /// The push services, if any is configured.
    pub push: Option<Arc<dyn Push>>,
    /// Webhook endpoints, if they are managed here.
    pub webhooks: Option<Webhooks>,
    /// How often a person is asked.
    pub prompts: Policy,
    /// Where apps reach the relay, without a trailing slash.
    pub public_url: String,
    /// Who owns acts that must not stop halfway.
    pub tasks: Tasks,
}

/// On whose behalf something is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The relying party.
    pub tenant: TenantId,
    who: Who,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Client(ClientId),
    Operator(String),
}

impl Actor {
    /// An initiator.
    #[must_use]
    pub fn client(client: &Client) -> Self {
        Self { tenant: client.tenant.clone(), who: Who::Client(client.id) }
    }

    /// The operator, by a name that nothing verifies. It goes into logs and the audit trail, so it
    /// is cut to 64 printable ASCII characters rather than refused: a lost phone must be revocable
    /// under any name.
    #[must_use]
    pub fn operator(tenant: TenantId, name: &str) -> Self {
        let plain = name.chars().filter(|c| c.is_ascii_graphic() || *c == ' ');
        let name: String = plain.take(OPERATOR_NAME).collect();
        let name = if name.trim().is_empty() { "unnamed".to_owned() } else { name };
        Self { tenant, who: Who::Operator(name) }
    }

    fn client_id(&self) -> Option<ClientId> {
        match &self.who {
            Who::Client(id) => Some(*id),
            Who::Operator(_) => None,
        }
    }

    /// The operator's name, if it is the operator.
    #[must_use]
    pub fn operator_name(&self) -> Option<&str> {
        match &self.who {
            Who::Client(_) => None,
            Who::Operator(name) => Some(name),
        }
    }

    fn event(&self, at: UnixMillis, what: SecurityEventKind) -> SecurityEvent {
        let operator = self.operator_name().map(str::to_owned);
        SecurityEvent { operator, ..SecurityEvent::new(self.tenant.clone(), at, what) }
    }

    fn entry(&self, at: UnixMillis, what: SecurityEventKind) -> String {
        self.event(at, what).entry()
    }
}

/// Why a device or card was not revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// There is none, or no more.
    #[error("no such device or card")]
    NotFound,
    /// It could not be stored, or not everywhere: then the relay goes on trying by itself.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// The clients of the store, with a cache of their own.
    #[must_use]
    pub fn clients(&self) -> Clients {
        Clients::new(Arc::clone(&self.store))
    }

    /// Commits a batch; `false`: another write came first, and the act must be decided anew.
    async fn commit(&self, batch: Batch) -> Result<bool, StoreError> {
        committed(&*self.store, batch).await
    }
}

/// The latest time in a bucket's records that can be read.
async fn newest_in<T: DeserializeOwned>(
    store: &dyn Store,
    bucket: Bucket,
    time: impl Fn(T) -> Option<UnixMillis>,
) -> Result<Option<UnixMillis>, StoreError> {
    let (mut newest, mut after) = (None, String::new());
    loop {
        let page = store.page(bucket, &after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(newest) };
        after.clone_from(last);
        let records = page.iter().filter_map(|(_, stored)| records::decode(&stored.value).ok());
        newest = records.filter_map(&time).max().max(newest);
    }
}

async fn committed(store: &dyn Store, batch: Batch) -> Result<bool, StoreError> {
    match store.commit(batch).await {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
