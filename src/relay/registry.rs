//! Which device holds which socket on this node. Map access lives in functions that are not async:
//! the connection is cloned out, the guard dropped, then somebody acts.

use std::sync::Arc;

use dashmap::DashMap;
use fido_relay_proto::{ConnectionId, DeviceId};
use tokio::sync::Notify;

use super::connection::Connection;
use crate::core::session::CloseReason;

/// Device → its newest connection.
#[derive(Debug, Default)]
pub struct Registry {
    devices: DashMap<DeviceId, Arc<Connection>>,
    left: Notify,
}

impl Registry {
    /// Takes in a connection. A device has one socket, the newest: an older one is asked to close.
    pub fn insert(&self, connection: Arc<Connection>) {
        let replaced = self.devices.insert(connection.owner().device, connection);
        if let Some(old) = replaced {
            old.close(CloseReason::Replaced);
        }
    }

    /// Takes out a connection, unless a newer one has its place.
    pub fn remove(&self, device: DeviceId, connection: ConnectionId) {
        self.devices.remove_if(&device, |_, present| present.id() == connection);
        if self.devices.is_empty() {
            self.left.notify_waiters();
        }
    }

    /// The device's connection on this node.
    #[must_use]
    pub fn get(&self, device: DeviceId) -> Option<Arc<Connection>> {
        self.devices.get(&device).map(|entry| Arc::clone(&entry))
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

    /// Connections on this node.
    #[must_use]
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }
}
