//! How often a refusal is told. Whoever keeps watch must hear that somebody tries; whoever tries must
//! not be able to fill the watch's log.

use std::sync::{Mutex, PoisonError};

use fido_relay_proto::UnixMillis;

/// Refusals that are told of in one minute.
pub const TOLD_A_MINUTE: u32 = 60;

/// Counts what was told in the minute that runs.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<(u64, u32)>);

impl Refusals {
    /// Whether one more may be told now; it counts.
    #[must_use]
    pub fn may_tell(&self, now: UnixMillis) -> bool {
        let minute = now.as_secs() / 60;
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0 != minute {
            *told = (minute, 0);
        }
        told.1 = told.1.saturating_add(1);
        told.1 <= TOLD_A_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_told_each_minute_and_no_more() {
        let refusals = Refusals::default();
        let told_in = |start: u64| {
            let moments = (0..1000).map(|n| UnixMillis(start + n));
            moments.filter(|at| refusals.may_tell(*at)).count()
        };
        assert_eq!(told_in(600_000), 60);
        assert_eq!(told_in(601_000), 0);
        assert_eq!(told_in(660_000), 60);
        // A clock that was set back tells again rather than never.
        assert_eq!(told_in(600_000), 60);
    }
}
