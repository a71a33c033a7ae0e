//! Which device is shown what on this node: device sockets, pulls, wakes by push, and watchers.
//!
//! What a device shows follows from the stored ceremony alone
//! ([`Ceremony::prompt_for`](crate::core::ceremony::Ceremony::prompt_for)); this room looks at it
//! whenever a notice says so, and again when a device returns. It reads ceremonies, hands them what
//! devices did as events, and must not know how a ceremony is stored, committed or completed, nor the
//! WebSocket or HTTP that an edge serves devices with.

mod connection;
mod frame_source;
mod frames;
mod notices;
mod observer;
mod prompts;
mod pull;
mod receive;
mod registry;
mod sockets;
mod wakes;
mod watchers;

use std::sync::Arc;

use tokio::sync::mpsc;

pub use self::connection::{Connection, ConnectionAction, OUTBOX_BYTES, OutgoingFrame};
pub use self::pull::PullRequest;
pub use self::registry::ConnectionRegistry;
pub use self::watchers::{Watch, Watchers};

pub(crate) use self::observer::LocalDevices;

use self::pull::PullWaits;
use self::wakes::WakesUnderWay;
use crate::app::ceremonies::{Ceremonies, CeremonyKey};
use crate::ports::{Clock, Counts, Notice, Store};
use crate::tasks::Tasks;

/// What delivery needs of the world.
#[derive(Clone, Debug)]
pub struct DeliveryDependencies {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub counts: Arc<dyn Counts>,
    pub tasks: Tasks,
}

/// What devices and watchers of one node are shown. Clones are the same.
#[derive(Clone, Debug)]
pub struct Delivery {
    state: Arc<DeliveryState>,
}

#[derive(Debug)]
struct DeliveryState {
    ceremonies: Ceremonies,
    dependencies: DeliveryDependencies,
    devices: Arc<LocalDevices>,
    watchers: Arc<Watchers>,
    pulls: PullWaits,
    wakes: WakesUnderWay,
}

/// How much of delivery this node holds in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeliveryGauges {
    pub(crate) sockets: usize,
    pub(crate) watched: usize,
    pub(crate) pulling: usize,
    pub(crate) waking: usize,
}

impl Delivery {
    /// Delivery of these ceremonies, which have `devices` as their observer. The caller also runs
    /// [`Delivery::follow_notices`] and [`Delivery::follow_wakes`].
    #[must_use]
    pub(crate) fn new(
        ceremonies: Ceremonies,
        dependencies: DeliveryDependencies,
        devices: Arc<LocalDevices>,
    ) -> Self {
        let state = DeliveryState {
            ceremonies,
            dependencies,
            devices,
            watchers: Arc::default(),
            pulls: PullWaits::default(),
            wakes: WakesUnderWay::default(),
        };
        Self { state: Arc::new(state) }
    }

    fn ceremonies(&self) -> &Ceremonies {
        &self.state.ceremonies
    }

    fn dependencies(&self) -> &DeliveryDependencies {
        &self.state.dependencies
    }

    fn store(&self) -> &dyn Store {
        &*self.state.dependencies.store
    }

    pub(crate) fn occupancy(&self) -> DeliveryGauges {
        DeliveryGauges {
            sockets: self.registry().len(),
            watched: self.state.watchers.watched(),
            pulling: self.state.pulls.len(),
            waking: self.state.wakes.len(),
        }
    }

    /// The device sockets of this node.
    #[must_use]
    pub fn registry(&self) -> &ConnectionRegistry {
        &self.state.devices.registry
    }

    /// Subscribes to the changes of a ceremony.
    #[must_use]
    pub fn watch(&self, ceremony: &CeremonyKey) -> Watch {
        self.state.watchers.subscribe(ceremony.id)
    }

    /// Looks at what notices name until the tasks are stopped.
    pub(crate) async fn follow_notices(self, mut feed: mpsc::Receiver<Notice>) {
        let stopping = self.dependencies().tasks.stopping().clone();
        while let Some(Some(notice)) = stopping.run_until_cancelled(feed.recv()).await {
            match notice {
                Notice::Ceremony(tenant, id) => {
                    self.look(&CeremonyKey { tenant, id }).await;
                }
                Notice::Revoked(device) => self.registry().close_revoked(device),
                Notice::News(tenant, username) => self.send_notices(&tenant, &username).await,
                Notice::Rekeyed(device) => self.registry().renew(device),
            }
        }
    }
}
