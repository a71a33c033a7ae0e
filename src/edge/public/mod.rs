//! What initiators, watchers and devices reach over the network.

mod closing;
pub(super) mod device_socket;
mod frame_guard;
mod handshake;
pub(super) mod http;
pub(super) mod watch;

pub use self::http::{probes, router};
pub use self::watch::WatchLimits;
