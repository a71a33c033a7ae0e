//! What initiators, watchers and devices reach over the network.
//!
//! ```text
//!   routes ──▶ http, watch, device_socket ──▶ extract, websocket ──▶ state
//! ```
//! The arrows are the only direction of use: `routes` alone names handlers, and what two kinds of
//! handlers share is in `extract` or `websocket`.

mod cors;
mod count_answers;
mod device_socket;
mod extract;
mod http;
mod page_origins;
mod probes;
mod routes;
mod state;
mod watch;
mod websocket;

pub use self::probes::probes;
pub use self::routes::router;
pub use self::state::{Edge, EdgeSettings, WatchLimits};
