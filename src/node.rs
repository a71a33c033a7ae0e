//! One node of the relay: its ceremonies and what it shows devices, over the same store, bus and clock.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use fido_relay_proto::NodeId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::ceremonies::copies::Copies;
use crate::app::ceremonies::deadlines::Deadlines;
use crate::app::ceremonies::keyed_mutex::KeyedMutex;
use crate::app::ceremonies::open_ceremonies::OpenCeremonies;
use crate::app::ceremonies::slots::Places;
use crate::app::ceremonies::{CeremonyKey, OpenLimits};
use crate::core::prompt_limits::Policy;
use crate::delivery::pull::Pullers;
use crate::delivery::wakes::{UnderWay, WakeCheck};
use crate::delivery::{Registry, Watch, Watchers};
use crate::journal::Journal;
use crate::ports::{
    Ability, Batch, Bus, Cards, Clock, Counts, Fido, Push, Revocations, SecurityEvent, Store,
};
use crate::security::encryption::Encryptor;
use crate::security::random;
use crate::tasks::Tasks;

/// What a node holds in memory, counted. With nothing open and no device connected it is all zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Device sockets on this node.
    pub sockets: usize,
    /// Ceremonies without an outcome.
    pub open: usize,
    /// Moments at which time alone may change a ceremony.
    pub deadlines: usize,
    /// Ceremonies that have a watcher.
    pub watched: usize,
    /// Copies of open ceremonies.
    pub copies: usize,
    /// Devices that wait for news without a socket, and wakes that a push service has not taken yet.
    pub pulling: usize,
    pub waking: usize,
}

/// What a relay needs of the dependencies.
#[derive(Clone, Debug)]
pub struct Dependencies {
    /// Durable records.
    pub store: Arc<dyn Store>,
    /// Revoked devices and removed cards, apart from the store.
    pub revocations: Arc<dyn Revocations>,
    /// "Look again" between nodes.
    pub bus: Arc<dyn Bus>,
    /// The FIDO2 server.
    pub fido: Arc<dyn Fido>,
    /// The push services, if any is configured.
    pub push: Option<Arc<dyn Push>>,
    /// The FIDO2 server's cards, if it keeps them here.
    pub cards: Option<Arc<dyn Cards>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What seals the FIDO2 server's sessions.
    pub sealer: Encryptor,
    /// How the journal is written.
    pub journal: Journal,
    /// Whether what the journal holds is exported.
    pub recording: watch::Receiver<Ability>,
    /// Counts what this process commits.
    pub counts: Arc<dyn Counts>,
    /// Who owns the tasks.
    pub tasks: Tasks,
}

impl Dependencies {
    /// Commits a security event by itself.
    pub async fn note(&self, event: &SecurityEvent) {
        let noted = self.store.commit(Batch::new().entry(event.entry())).await;
        if let Err(error) = noted {
            tracing::warn!(%error, "a security event could not be stored");
        }
    }
}

/// What initiators may have of a node and of a person.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// Ceremonies at a time.
    pub open: OpenLimits,
    /// Prompts, and codes that may be wrong.
    pub attention: Policy,
    /// How long an app has to acknowledge a prompt before its push service wakes it. 0: a device
    /// without a socket is woken at once.
    pub wake_after: Duration,
}

/// One node of the relay. Clones are the same node.
#[derive(Clone, Debug)]
pub struct Relay {
    pub(crate) node: Arc<Node>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) dependencies: Dependencies,
    pub(crate) registry: Registry,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) open_ceremonies: OpenCeremonies,
    pub(crate) places: Places,
    pub(crate) copies: Copies,
    pub(crate) open_limits: OpenLimits,
    pub(crate) deadlines: Deadlines<CeremonyKey>,
    pub(crate) wakes: Deadlines<WakeCheck>,
    pub(crate) waking: UnderWay,
    pub(crate) wake_after: Duration,
    pub(crate) pullers: Pullers,
    pub(crate) policy: Policy,
    /// Which ceremony is moved.
    pub(crate) moves: KeyedMutex,
    /// The device whose code is looked at.
    pub(crate) claims: KeyedMutex,
    /// Whose standing is changed.
    pub(crate) user_prompts: KeyedMutex,
    /// Whether the store refused this node's last commit.
    pub(crate) is_refused: AtomicBool,
    /// Cancelled once recovery has seen everything.
    pub(crate) recovered: CancellationToken,
    /// Cancelled once the store has every revocation that was known at the start.
    pub(crate) revocations_applied: CancellationToken,
}

impl Relay {
    /// Starts a node: it follows the bus and the clock, takes up every open ceremony where the
    /// store says it stands, and removes what has passed its retention, until the tasks are
    /// stopped.
    ///
    /// Taking up runs beside new work, so that a full store does not keep the node from serving;
    /// [`Relay::recovered`] waits for it.
    #[must_use]
    pub fn start(dependencies: Dependencies, bounds: Bounds) -> Self {
        let Bounds { open: open_limits, attention: policy, wake_after } = bounds;
        let node = Arc::new(Node {
            id: NodeId::from_bytes(random::bytes()),
            dependencies,
            registry: Registry::default(),
            watchers: Arc::default(),
            open_ceremonies: OpenCeremonies::default(),
            places: Places::default(),
            copies: Copies::default(),
            open_limits,
            deadlines: Deadlines::default(),
            wakes: Deadlines::default(),
            waking: UnderWay::default(),
            wake_after,
            pullers: Pullers::default(),
            policy,
            moves: KeyedMutex::default(),
            claims: KeyedMutex::default(),
            user_prompts: KeyedMutex::default(),
            is_refused: AtomicBool::new(false),
            recovered: CancellationToken::new(),
            revocations_applied: CancellationToken::new(),
        });
        let relay = Self { node };
        let tasks = &relay.dependencies().tasks;
        if let Some(feed) = relay.dependencies().bus.feed() {
            tasks.spawn_vital("notices", relay.clone().follow_notices(feed));
        }
        tasks.spawn_vital("revocations", relay.clone().follow_revocations());
        tasks.spawn_vital("deadlines", relay.clone().follow_deadlines());
        if let Some(push) = relay.dependencies().push.clone() {
            tasks.spawn_vital("wakes", relay.clone().follow_wakes(push));
        }
        tasks.spawn_vital("recovery", {
            let relay = relay.clone();
            async move {
                relay.recover().await;
                relay.node.recovered.cancel();
                relay.sweep_forever().await;
            }
        });
        relay
    }

    /// Waits until every ceremony that was open at the start is taken up.
    pub async fn recovered(&self) {
        self.node.recovered.cancelled().await;
    }

    /// Waits until the store has every revocation that was known at the start. No device is to be
    /// let in before: the store may be an earlier state of itself.
    pub async fn revocations_applied(&self) {
        self.node.revocations_applied.cancelled().await;
    }

    /// Runs something that must finish in a task of its own; none if that task was ended early.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.dependencies().tasks.run_detached(work).await
    }

    /// What the relay stands on.
    #[must_use]
    pub fn dependencies(&self) -> &Dependencies {
        &self.node.dependencies
    }

    /// The sockets of this node.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.node.registry
    }

    /// A place to wait for changes of a ceremony.
    #[must_use]
    pub fn watch(&self, ceremony: &CeremonyKey) -> Watch {
        self.node.watchers.subscribe(ceremony.id)
    }

    /// How much this node holds in memory.
    #[must_use]
    pub fn census(&self) -> Census {
        Census {
            sockets: self.node.registry.len(),
            open: self.node.places.len(),
            deadlines: self.node.deadlines.len(),
            watched: self.node.watchers.len(),
            copies: self.node.copies.len(),
            pulling: self.node.pullers.len(),
            waking: self.node.waking.len(),
        }
    }
}
