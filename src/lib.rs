//! fido-relay: relays FIDO2 ceremonies from a web page to the card that only the user's phone can
//! read.
//!
//! An event enters at an edge ([`edge`]), moves one ceremony one step in a pure function
//! ([`core::ceremony`]), the new state is saved, and only then are the resulting effects performed
//! ([`app::ceremonies`]); their results are events again.

#![cfg_attr(
    not(feature = "test-support"),
    deny(dead_code),
    allow(unreachable_pub, unused_imports, reason = "public where the integration tests need it")
)]

mod address_prefix;
#[cfg(not(feature = "test-support"))]
mod app;
#[cfg(feature = "test-support")]
pub mod app;
#[cfg(not(feature = "test-support"))]
mod backends;
#[cfg(feature = "test-support")]
pub mod backends;
pub mod cli;
#[cfg(not(feature = "test-support"))]
mod config;
#[cfg(feature = "test-support")]
pub mod config;
#[cfg(not(feature = "test-support"))]
mod core;
#[cfg(feature = "test-support")]
pub mod core;
#[cfg(not(feature = "test-support"))]
mod delivery;
#[cfg(feature = "test-support")]
pub mod delivery;
#[cfg(not(feature = "test-support"))]
mod edge;
#[cfg(feature = "test-support")]
pub mod edge;
#[cfg(not(feature = "test-support"))]
mod encoding;
#[cfg(feature = "test-support")]
pub mod encoding;
#[cfg(not(feature = "test-support"))]
mod fault_point;
#[cfg(feature = "test-support")]
pub mod fault_point;
#[cfg(not(feature = "test-support"))]
mod journal;
#[cfg(feature = "test-support")]
pub mod journal;
#[cfg(not(feature = "test-support"))]
mod metrics;
#[cfg(feature = "test-support")]
pub mod metrics;
#[cfg(not(feature = "test-support"))]
mod node;
#[cfg(feature = "test-support")]
pub mod node;
#[cfg(not(feature = "test-support"))]
mod ports;
#[cfg(feature = "test-support")]
pub mod ports;
mod private_file;
#[cfg(not(feature = "test-support"))]
mod rfc3339;
#[cfg(feature = "test-support")]
pub mod rfc3339;
#[cfg(not(feature = "test-support"))]
mod schema;
#[cfg(feature = "test-support")]
pub mod schema;
#[cfg(not(feature = "test-support"))]
mod security;
#[cfg(feature = "test-support")]
pub mod security;
#[cfg(not(feature = "test-support"))]
mod serve;
#[cfg(feature = "test-support")]
pub mod serve;

pub use fido_relay_kit::{tasks, trust};
