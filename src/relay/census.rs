//! What a node holds in memory, counted for tests and gauges.

use super::Relay;

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

impl Relay {
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
