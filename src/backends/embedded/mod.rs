//! Everything on one machine: the durable store in one file with its log, the bus within the process, the
//! system clock. What a relay that is alone runs on.
//!
//! Knows redb and the operating system; knows nothing of the relay, of HTTP or of other backends.

mod bus;
mod checkpoint;
mod database;
mod guard;
mod layers;
mod log;
mod memory;
mod migrate;
mod overlay;
mod parts;
mod payload;
mod recovery;
mod revocations;
mod store;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

pub use bus::LocalBus;
pub use database::{OpenError, make_private_directory, sync_directory};
pub use fido_relay_kit::clock::SystemClock;
pub use memory::MemoryStore;
pub use parts::{OpenPart, Part, Turn};
pub use revocations::{RevocationList, RevocationsError};
pub use store::{FileStore, Options};
