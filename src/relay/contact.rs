//! A device that speaks to the relay: over its socket, or by an HTTP request of its own. What follows
//! from what it says is the same; only a socket remembers what was shown on it.

use std::net::IpAddr;

use fido_relay_proto::CeremonyId;

use super::connection::{Connection, Owner, Shown};

/// A device while one thing that it said is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contact<'a> {
    pub(super) owner: &'a Owner,
    /// Where the device is, where that is known.
    pub(super) address: Option<IpAddr>,
    /// The socket over which it spoke.
    pub(super) socket: Option<&'a Connection>,
}

impl<'a> From<&'a Connection> for Contact<'a> {
    fn from(connection: &'a Connection) -> Self {
        let (owner, address) = (connection.owner(), connection.address());
        Self { owner, address, socket: Some(connection) }
    }
}

impl Contact<'_> {
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
