//! Everything on one machine: the durable store in one file, the bus within the process, the
//! system clock. What a relay that is alone runs on.
//!
//! Knows redb and the operating system; knows nothing of the relay, of HTTP or of other backends.

mod bus;
mod clock;
mod database;
mod guard;
mod memory;
mod revocations;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use bus::LocalBus;
pub use clock::SystemClock;
pub use database::{OpenError, make_private_directory, sync_directory};
pub use memory::MemoryStore;
pub use revocations::{RevocationList, RevocationsError};
pub use store::FileStore;
