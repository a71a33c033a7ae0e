//! Time as the relay tells it.

use fido_relay_proto::UnixMillis;

/// The relay's one wall clock: what is stored is compared with what it says.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Now.
    fn now(&self) -> UnixMillis;
}
