//! HTTP and sockets: where requests enter. Everything from outside is checked here, before it
//! becomes an event; what comes back becomes JSON. No rule of a ceremony lives here, and no backend
//! is known.

mod concurrency;
mod fields;
pub mod listener;
pub mod operator;
mod problem_response;
mod public;
mod segment;
mod views;

pub use self::public::{Edge, EdgeSettings, WatchLimits, probes, router};
