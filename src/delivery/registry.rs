//! Which device holds which socket on this node. Functions that touch the map are not async: the
//! connection is cloned out and the guard dropped before anything waits.

use std::sync::Arc;

use dashmap::DashMap;
use fido_relay_proto::{ConnectionId, DeviceId};
use tokio::sync::Notify;

use super::connection::Connection;
use crate::core::session::CloseReason;

/// Device → its newest connection.
#[derive(Debug, Default)]
pub struct ConnectionRegistry {
    devices: DashMap<DeviceId, Arc<Connection>>,
    left: Notify,
}

impl ConnectionRegistry {
    /// Registers a connection. A device has one socket, the newest: an older one is asked to close.
    pub fn insert(&self, connection: Arc<Connection>) {
        let replaced = self.devices.insert(connection.identity().device, connection);
        if let Some(old) = replaced {
            old.close(CloseReason::Replaced);
        }
    }

    /// Removes a connection, unless a newer one has replaced it.
    pub fn remove(&self, device: DeviceId, connection: ConnectionId) {
        self.devices.remove_if(&device, |_, present| present.id() == connection);
        if self.devices.is_empty() {
            self.left.notify_waiters();
        }
    }

    #[must_use]
    pub fn get(&self, device: DeviceId) -> Option<Arc<Connection>> {
        self.devices.get(&device).map(|entry| Arc::clone(&entry))
    }

    /// Closes the socket of a revoked device, if it is here.
    pub(crate) fn close_revoked(&self, device: DeviceId) {
        if let Some(connection) = self.get(device) {
            connection.close(CloseReason::Revoked);
        }
    }

    /// Has a device whose key has changed sign again, if it is here.
    pub(super) fn renew(&self, device: DeviceId) {
        if let Some(connection) = self.get(device) {
            connection.renew();
        }
    }

    /// Waits until no device holds a socket here.
    pub async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            if self.devices.is_empty() {
                return;
            }
            left.await;
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }
}
