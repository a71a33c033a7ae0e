//! A device that speaks to the relay: over its socket, or by an HTTP request of its own. What follows
//! from what it says is the same; only a socket remembers what was shown on it.

use std::net::IpAddr;

use fido_relay_proto::CeremonyId;

use crate::delivery::connection::{Connection, Owner, Shown};

/// A device while one thing that it said is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contact<'a> {
    pub(crate) owner: &'a Owner,
    /// Where the device is, where that is known.
    pub(crate) address: Option<IpAddr>,
    /// The socket over which it spoke.
    pub(crate) socket: Option<&'a Connection>,
}

impl<'a> From<&'a Connection> for Contact<'a> {
    fn from(connection: &'a Connection) -> Self {
        let (owner, address) = (connection.owner(), connection.address());
        Self { owner, address, socket: Some(connection) }
    }
}

impl Contact<'_> {
    /// What its socket last showed of a ceremony.
    pub(crate) fn shown(self, ceremony: CeremonyId) -> Option<Shown> {
        self.socket.and_then(|socket| socket.shown(ceremony))
    }

    /// Notes what its socket shows now.
    pub(crate) fn show(self, ceremony: CeremonyId, what: Shown) {
        if let Some(socket) = self.socket {
            socket.show(ceremony, what);
        }
    }

    /// Forgets what its socket showed.
    pub(crate) fn unshow(self, ceremony: CeremonyId) {
        if let Some(socket) = self.socket {
            socket.unshow(ceremony);
        }
    }
}
