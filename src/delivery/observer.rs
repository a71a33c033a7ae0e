//! The part of delivery that ceremonies of this node notify directly, in addition to the notice on
//! the bus.

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::{CeremonyId, DeviceId};

use super::connection::Shown;
use super::registry::ConnectionRegistry;
use super::wakes::WakeSchedule;
use crate::app::ceremonies::{CeremonyKey, CeremonyObserver};
use crate::ports::Clock;

/// The device sockets of this node, and when it wakes devices. It knows no ceremonies, so that these
/// can hold it.
#[derive(Debug)]
pub(crate) struct LocalDevices {
    pub(super) registry: ConnectionRegistry,
    pub(super) wakes: WakeSchedule,
}

impl LocalDevices {
    /// `wake_after`: how long an app has to acknowledge a prompt before its push service wakes it;
    /// none: no push service is configured.
    pub(crate) fn new(clock: Arc<dyn Clock>, wake_after: Option<Duration>) -> Self {
        let wakes = WakeSchedule::new(clock, wake_after);
        Self { registry: ConnectionRegistry::default(), wakes }
    }
}

impl CeremonyObserver for LocalDevices {
    fn may_ring(&self, ceremony: &CeremonyKey) {
        self.wakes.schedule_first(ceremony);
    }

    fn answer_decided(&self, ceremony: CeremonyId, device: DeviceId) {
        if let Some(connection) = self.registry.get(device) {
            connection.show(ceremony, Shown::Wait);
        }
    }
}
