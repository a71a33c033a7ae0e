//! A point in time as the relay's own clock gave it: milliseconds since the Unix epoch.
//!
//! Only the relay compares these with one another. Devices and watchers are told remaining
//! seconds (`expires_in`) instead, because their clocks need not agree with the relay's.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This instant moved `millis` later; saturates at the end of time.
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// This instant moved `seconds` later; saturates at the end of time.
    #[must_use]
    pub fn plus_secs(self, seconds: u64) -> Self {
        self.plus_millis(seconds.saturating_mul(1000))
    }

    /// Milliseconds from `earlier` to this instant, 0 if `earlier` is the later one.
    #[must_use]
    pub fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole seconds left until this instant, rounded down so that a reader never believes in
    /// time that is not there; 0 once it has passed.
    #[must_use]
    pub fn secs_left(self, now: Self) -> u64 {
        self.millis_since(now) / 1000
    }

    /// Seconds since the epoch, as JWT `NumericDate` wants them (RFC 7519 section 2).
    #[must_use]
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}
