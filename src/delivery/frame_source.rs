//! Where a device's frame came from: its socket, or an HTTP request of its own. What follows from the
//! frame is the same; only a socket remembers what was shown on it.

use std::net::IpAddr;

use fido_relay_proto::CeremonyId;

use super::connection::{Connection, Shown};
use crate::app::ceremonies::DeviceIdentity;

#[derive(Clone, Copy, Debug)]
pub(super) struct FrameSource<'a> {
    pub(super) identity: &'a DeviceIdentity,
    /// The device's address, where it is known.
    pub(super) address: Option<IpAddr>,
    /// The socket over which the frame came.
    pub(super) socket: Option<&'a Connection>,
}

impl<'a> From<&'a Connection> for FrameSource<'a> {
    fn from(connection: &'a Connection) -> Self {
        let (identity, address) = (connection.identity(), connection.address());
        Self { identity, address, socket: Some(connection) }
    }
}

impl FrameSource<'_> {
    /// What its socket last showed of a ceremony.
    pub(super) fn shown(self, ceremony: CeremonyId) -> Option<Shown> {
        self.socket.and_then(|socket| socket.shown(ceremony))
    }

    /// Notes what its socket shows now.
    pub(super) fn show(self, ceremony: CeremonyId, what: Shown) {
        if let Some(socket) = self.socket {
            socket.show(ceremony, what);
        }
    }

    /// Forgets what its socket showed.
    pub(super) fn unshow(self, ceremony: CeremonyId) {
        if let Some(socket) = self.socket {
            socket.unshow(ceremony);
        }
    }
}
