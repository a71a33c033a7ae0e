//! The backends of a single node: the durable store in tables with a log before them, the bus within
//! the process, the system clock.
//!
//! Knows redb and the operating system, and neither the relay, HTTP nor other backends.

mod bus;
mod checkpoint;
mod database;
mod guard;
mod layers;
mod log;
#[cfg(feature = "test-support")]
mod memory;
mod migrate;
mod overlay;
mod payload;
mod recovery;
mod revocations;
mod store;
mod store_file;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

pub use bus::LocalBus;
pub use database::StoreOpenError;
pub use fido_relay_kit::clock::SystemClock;
#[cfg(feature = "test-support")]
pub use memory::MemoryStore;
pub use revocations::{RevocationList, RevocationsError};
pub use store::{FileStore, StoreOptions};
pub use store_file::{LogSlot, OpenStoreFile, StoreFile};
