//! fido-relay: relays FIDO2 ceremonies from a web page to the card that only the user's phone can
//! read.
//!
//! An event enters at an edge ([`edge`]), moves one ceremony one step in a pure function
//! ([`core::ceremony`]), the new state is saved, and only then are the resulting effects performed
//! ([`app::ceremonies`]); their results are events again.

mod address_prefix;
pub mod app;
pub mod backends;
pub mod cli;
pub mod config;
pub mod core;
pub mod delivery;
pub mod edge;
pub mod encoding;
pub mod fault_point;
pub mod journal;
pub mod metrics;
pub mod node;
pub mod ports;
mod private_file;
pub mod rfc3339;
pub mod schema;
pub mod security;
pub mod serve;

pub use fido_relay_kit::{tasks, trust};
