//! Where the node is watched from, and how much of each kind of work it takes on. Knows nothing
//! of who holds callers to it.

use std::net::SocketAddr;

/// The listener for whoever watches the node: metrics and health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdminListener {
    /// Where it is served, if it is.
    pub listen: Option<SocketAddr>,
    /// Whether other machines may reach it.
    pub allow_remote: bool,
}

/// How fast and how many. A burst is what may come at once after a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Ceremonies that one client may open a second, sustained.
    pub opens_per_s: u32,
    /// Its burst.
    pub opens_burst: u32,
    /// Ceremonies of one client that may be open at a time.
    pub open_per_client: usize,
    /// Ceremonies of the node that may be open at a time.
    pub open_per_node: usize,
    /// Attempts a second, of one address, at what needs no credential yet: to pair, to get a token.
    pub attempts_per_s: u32,
    /// Its burst.
    pub attempts_burst: u32,
    /// Times that one device may authenticate a new socket within a minute.
    pub sockets_per_min: u32,
}
