//! Orchestration: load, step, save, then act; what comes of the act is an event again.
//!
//! There is one way to change a ceremony, [`Relay::drive`]. After a change everybody concerned
//! is told to look again ([`Notice`]), and every node then shows its own sockets and watchers what
//! the stored state asks for. A notice that is lost or comes twice does no harm. This room knows
//! the ports and the core, and nothing of HTTP, sockets, configuration or a FIDO2 server's protocol.
//!
//! ```text
//!  event ─▶ drive: load → step → save ─┬─▶ effects: begin | complete ─▶ event
//!                                      └─▶ bus: look again ─▶ prompts (phones), watchers
//! ```

mod ceremonies;
mod connection;
mod deadlines;
pub mod devices;
mod drive;
mod effects;
mod live;
mod open;
mod prompts;
mod registry;
mod sockets;
mod watchers;

use std::sync::Arc;

use tokio::sync::mpsc;

pub use self::ceremonies::CeremonyKey;
pub use self::connection::{Connection, Next, OUTBOX_BYTES, Outgoing, Owner};
pub use self::drive::{DriveError, Driven};
pub use self::open::{OpenError, OpenOrder};
pub use self::registry::Registry;
pub use self::watchers::{Watch, Watchers};

use self::deadlines::Deadlines;
use self::live::Live;
use crate::ceremony::{Ceremony, Event};
use crate::ports::{Bus, Clock, Fido, Notice, Store, StoreError};
use crate::tasks::Tasks;

/// What a relay needs of the world.
#[derive(Clone, Debug)]
pub struct World {
    /// Durable records.
    pub store: Arc<dyn Store>,
    /// "Look again" between nodes.
    pub bus: Arc<dyn Bus>,
    /// The FIDO2 server.
    pub fido: Arc<dyn Fido>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who owns the tasks.
    pub tasks: Tasks,
}

/// One node of the relay. Clones are the same node.
#[derive(Clone, Debug)]
pub struct Relay {
    node: Arc<Node>,
}

#[derive(Debug)]
struct Node {
    world: World,
    registry: Registry,
    watchers: Watchers,
    live: Live,
    deadlines: Deadlines,
}

impl Relay {
    /// Starts a node: takes up every open ceremony where the store says it stands, then follows
    /// the bus and the clock until the tasks are stopped.
    ///
    /// # Errors
    /// The store's, if it cannot be read.
    pub async fn start(world: World) -> Result<Self, StoreError> {
        let node = Arc::new(Node {
            world,
            registry: Registry::default(),
            watchers: Watchers::default(),
            live: Live::default(),
            deadlines: Deadlines::default(),
        });
        let relay = Self { node };
        if let Some(feed) = relay.world().bus.feed() {
            relay.world().tasks.spawn("notices", relay.clone().follow_notices(feed));
        }
        relay.world().tasks.spawn("deadlines", relay.clone().follow_deadlines());
        relay.recover().await?;
        Ok(relay)
    }

    /// What the relay stands on.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.node.world
    }

    /// The sockets of this node.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.node.registry
    }

    /// A place to wait for changes of a ceremony.
    #[must_use]
    pub fn watch(&self, ceremony: &CeremonyKey) -> Watch<'_> {
        self.node.watchers.subscribe(ceremony.id)
    }

    /// The ceremony as it is stored.
    ///
    /// # Errors
    /// The store's.
    pub async fn load(&self, key: &CeremonyKey) -> Result<Option<Ceremony>, StoreError> {
        let found = ceremonies::load(&*self.world().store, key).await?;
        Ok(found.map(|(ceremony, _)| ceremony))
    }

    async fn recover(&self) -> Result<(), StoreError> {
        let mut open = 0_u64;
        for ceremony in ceremonies::all(&*self.world().store).await? {
            if ceremony.closed().is_some() {
                continue;
            }
            open += 1;
            let key = CeremonyKey::from(&ceremony);
            self.remember(&ceremony);
            if let Err(error) = self.drive(&key, Event::Recover).await {
                tracing::error!(ceremony = %key, %error, "an open ceremony was not taken up");
            }
        }
        if open > 0 {
            tracing::info!(open, "took up the ceremonies that were open");
        }
        Ok(())
    }

    async fn follow_notices(self, mut feed: mpsc::Receiver<Notice>) {
        let stopping = self.world().tasks.stopping().clone();
        while let Some(Some(notice)) = stopping.run_until_cancelled(feed.recv()).await {
            match notice {
                Notice::Ceremony(tenant, id) => self.look(&CeremonyKey { tenant, id }).await,
                Notice::Revoked(device) => self.drop_revoked(device),
            }
        }
    }

    async fn follow_deadlines(self) {
        let stopping = self.world().tasks.stopping().clone();
        let due = || self.node.deadlines.due(&*self.world().clock);
        while let Some(key) = stopping.run_until_cancelled(due()).await {
            if let Err(error) = self.drive(&key, Event::Tick).await {
                self.retry_deadline(key, &error);
            }
        }
    }

    /// A deadline that the store refused comes again: nothing else would close the ceremony.
    fn retry_deadline(&self, key: CeremonyKey, error: &DriveError) {
        if matches!(error, DriveError::Unavailable(_)) {
            tracing::warn!(ceremony = %key, %error, "a deadline could not be stored");
            self.node.deadlines.schedule(self.world().clock.now().plus_secs(1), key);
        }
    }

    /// Keeps what this node must know of an open ceremony between looks.
    fn remember(&self, ceremony: &Ceremony) {
        let key = CeremonyKey::from(ceremony);
        let user = devices::UserKey::new(&key.tenant, &ceremony.request.username);
        match ceremony.wakes_at() {
            Some(at) => {
                self.node.live.insert(user, &key);
                self.node.deadlines.schedule(at, key);
            }
            None => {
                self.node.live.remove(&user, &key);
                self.node.deadlines.forget(ceremony.request.deadline, &key);
            }
        }
    }
}
