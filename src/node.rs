//! One node of the relay: its ceremonies and their delivery, started over the same store, bus,
//! clock and push services. It wires the rooms together and decides nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::ceremonies::{Ceremonies, CeremonyDependencies, OpenLimits};
use crate::app::{RevocationSync, keys, retention};
use crate::core::prompt_limits::Policy;
use crate::delivery::{Delivery, DeliveryDependencies, LocalDevices};
use crate::journal::Journal;
use crate::ports::{
    Bus, Cards, Clock, Counts, ExportHealth, Fido, Push, Revocations, Store, StoreError,
};
use crate::security::encryption::Encryptor;
use crate::tasks::Tasks;

/// What a node needs of the world.
#[derive(Clone, Debug)]
pub struct Dependencies {
    pub store: Arc<dyn Store>,
    /// Revoked devices and removed cards, apart from the store.
    pub revocations: Arc<dyn Revocations>,
    /// "Look again" between nodes.
    pub bus: Arc<dyn Bus>,
    pub fido: Arc<dyn Fido>,
    /// The push services, if any is configured.
    pub push: Option<Arc<dyn Push>>,
    /// The FIDO2 server's cards, if it keeps them here.
    pub cards: Option<Arc<dyn Cards>>,
    pub clock: Arc<dyn Clock>,
    /// Encrypts the FIDO2 server's sessions.
    pub encryptor: Encryptor,
    pub journal: Journal,
    /// Whether what the journal holds is exported.
    pub recording: watch::Receiver<ExportHealth>,
    /// Counts what this process commits.
    pub counts: Arc<dyn Counts>,
    pub tasks: Tasks,
}

/// What initiators may have of a node and of a person.
#[derive(Clone, Debug, Default)]
pub struct RelayLimits {
    /// Ceremonies that are open at a time.
    pub open: OpenLimits,
    /// Prompts, and codes that may be wrong.
    pub prompts: Policy,
    /// How long an app has to acknowledge a prompt before its push service wakes it. 0: a device
    /// without a socket is woken at once.
    pub wake_after: Duration,
}

/// How much a node holds in memory. With nothing open and no device connected it is all zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeOccupancy {
    /// Device sockets on this node.
    pub sockets: usize,
    /// Ceremonies without an outcome.
    pub open: usize,
    /// Times at which a ceremony may change without an event from outside.
    pub deadlines: usize,
    /// Ceremonies that have a watcher.
    pub watched: usize,
    /// Copies of open ceremonies.
    pub copies: usize,
    /// Pulls that wait for another state.
    pub pulling: usize,
    /// Wakes that a push service has not taken yet.
    pub waking: usize,
}

/// Why a node takes no traffic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    #[error("the task \"{0}\" ended: this node must be restarted")]
    TaskEnded(&'static str),
    #[error("stopping")]
    Draining,
    /// The audit log cannot be written.
    #[error("what happens cannot be recorded")]
    Unrecorded,
    /// As on a full disk.
    #[error("the store accepts no writes")]
    StoreWrites,
    #[error("the store does not answer")]
    StoreReads,
}

/// One node of the relay. Clones are the same node.
#[derive(Clone, Debug)]
pub struct Relay {
    pub ceremonies: Ceremonies,
    pub delivery: Delivery,
    dependencies: Arc<Dependencies>,
    revocations_applied: CancellationToken,
}

impl Relay {
    /// Starts a node: it follows the bus and the clock, takes up every open ceremony as it is stored,
    /// and removes what has passed its retention, until the tasks are stopped.
    ///
    /// Recovery runs concurrently with new work, so that a full store does not keep the node from
    /// serving; [`Ceremonies::recovered`] waits for it.
    #[must_use]
    pub fn start(dependencies: Dependencies, limits: RelayLimits) -> Self {
        let relay = Self::new(dependencies, limits);
        let Dependencies { store, revocations, bus, push, cards, clock, tasks, .. } =
            &*relay.dependencies;
        let (ceremonies, delivery) = (&relay.ceremonies, &relay.delivery);
        if let Some(feed) = bus.feed() {
            tasks.spawn_vital("notices", delivery.clone().follow_notices(feed));
        }
        let sync = RevocationSync {
            revocations: Arc::clone(revocations),
            store: Arc::clone(store),
            cards: cards.clone(),
            applied: relay.revocations_applied.clone(),
        };
        let sockets = delivery.clone();
        let close = move |device| sockets.registry().close_revoked(device);
        tasks.spawn_vital("revocations", sync.follow(tasks.clone(), close));
        tasks.spawn_vital("deadlines", ceremonies.clone().follow_deadlines());
        if let Some(push) = push {
            tasks.spawn_vital("wakes", delivery.clone().follow_wakes(Arc::clone(push)));
        }
        let (mut recovery, delivery) = (ceremonies.recovery(), delivery.clone());
        let (store, clock) = (Arc::clone(store), Arc::clone(clock));
        tasks.spawn_vital("recovery", {
            let tasks = tasks.clone();
            async move {
                while let Some(ceremony) = recovery.next().await {
                    // Its device may have reconnected before this node had read the open
                    // ceremonies.
                    delivery.look_until_unchanged(&ceremony).await;
                }
                retention::sweep_forever(&*store, &*clock, &tasks).await;
            }
        });
        relay
    }

    fn new(dependencies: Dependencies, limits: RelayLimits) -> Self {
        let RelayLimits { open, prompts, wake_after } = limits;
        let Dependencies {
            store,
            bus,
            fido,
            push,
            clock,
            encryptor,
            journal,
            recording,
            counts,
            tasks,
            ..
        } = dependencies.clone();
        let wake_after = push.is_some().then_some(wake_after);
        let devices = Arc::new(LocalDevices::new(Arc::clone(&clock), wake_after));
        let of_delivery = DeliveryDependencies {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            counts: Arc::clone(&counts),
            tasks: tasks.clone(),
        };
        let of_ceremonies = CeremonyDependencies {
            store,
            bus,
            fido,
            clock,
            encryptor,
            journal,
            recording,
            counts,
            tasks,
            observer: devices.clone(),
        };
        let ceremonies = Ceremonies::new(of_ceremonies, prompts, open);
        let delivery = Delivery::new(ceremonies.clone(), of_delivery, devices);
        let dependencies = Arc::new(dependencies);
        Self { ceremonies, delivery, dependencies, revocations_applied: CancellationToken::new() }
    }

    /// Waits until the store has every revocation that was known at the start. No device is to be
    /// let in before: the store may be an earlier state of itself.
    pub async fn revocations_applied(&self) {
        self.revocations_applied.cancelled().await;
    }

    /// Whether the node may take traffic. The FIDO2 server is not asked: while it is down no node is
    /// of more use, and ceremonies report it themselves.
    pub async fn ready(&self) -> Result<(), NotReady> {
        let Dependencies { store, tasks, recording, .. } = self.dependencies();
        if let Some(task) = tasks.first_failed_task() {
            return Err(NotReady::TaskEnded(task));
        }
        if tasks.draining().is_cancelled() {
            return Err(NotReady::Draining);
        }
        if *recording.borrow() != ExportHealth::Healthy {
            return Err(NotReady::Unrecorded);
        }
        store.writable().await.map_err(|error| {
            tracing::error!(%error, "the store accepts no writes");
            NotReady::StoreWrites
        })?;
        keys::probe(&**store).await.map_err(|error| {
            tracing::error!(%error, "the store failed");
            NotReady::StoreReads
        })
    }

    /// What the node was started with.
    #[must_use]
    pub fn dependencies(&self) -> &Dependencies {
        &self.dependencies
    }

    /// Removes what has passed its retention, as the node does by itself every minute.
    ///
    /// # Errors
    /// The store's.
    #[cfg(feature = "test-support")]
    pub async fn sweep(&self) -> Result<u64, StoreError> {
        retention::sweep(&*self.dependencies.store, &*self.dependencies.clock).await
    }

    #[must_use]
    pub fn occupancy(&self) -> NodeOccupancy {
        let (ceremonies, delivery) = (self.ceremonies.occupancy(), self.delivery.occupancy());
        NodeOccupancy {
            sockets: delivery.sockets,
            open: ceremonies.open,
            deadlines: ceremonies.deadlines,
            watched: delivery.watched,
            copies: ceremonies.copies,
            pulling: delivery.pulling,
            waking: delivery.waking,
        }
    }
}
