//! The wall clock, as a trait and as the machine's own: the only place that reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use fido_relay_proto::UnixMillis;

/// A wall clock: stored times are compared with it.
pub trait Clock: Send + Sync + std::fmt::Debug {
    fn now(&self) -> UnixMillis;
}

/// The machine's wall clock. Times before 1970 count as 1970.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that all others ask")]
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}
