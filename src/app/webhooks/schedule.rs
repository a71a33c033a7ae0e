//! When a delivery is tried again. Pure.
//!
//! | try | at most this long after the one before |
//! | --- | --- |
//! | 1 | at once |
//! | 2 | 5 s |
//! | 3 | 30 s |
//! | 4 | 2 min |
//! | 5 | 10 min |
//! | 6 | 30 min |
//! | 7 | 1 h |
//! | 8 | 2 h |
//! | 9 | 4 h |
//! | further | 8 h |
//!
//! Each pause is drawn evenly from nothing to the whole ("full jitter"), so that what failed
//! together does not come back together. The last try is made when the 72 hours are over.

use fido_relay_proto::UnixMillis;

/// How long a delivery is tried, in seconds.
pub(super) const RETRIES_S: u64 = 72 * 60 * 60;
/// Longest that a `Retry-After` is honoured, in seconds: an endpoint must not park its events.
pub(super) const RETRY_AFTER_MAX_S: u64 = 60 * 60;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// Seconds, by the number of tries so far.
const PAUSES_S: [u64; 9] =
    [5, 30, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR];

/// The longest pause after this many tries, in milliseconds.
pub(super) fn longest_pause_ms(attempts: u32) -> u64 {
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let last = PAUSES_S.len() - 1;
    PAUSES_S.get(index.min(last)).copied().unwrap_or(8 * HOUR) * 1000
}

/// The next try after this many; `None`: that was the last. `draw` gives a number below its
/// argument.
pub(super) fn next(
    now: UnixMillis,
    until: UnixMillis,
    attempts: u32,
    retry_after_s: Option<u64>,
    draw: impl Fn(u64) -> u64,
) -> Option<UnixMillis> {
    if now >= until {
        return None;
    }
    let drawn = now.plus_millis(draw(longest_pause_ms(attempts) + 1));
    let asked = retry_after_s.map_or(now, |s| now.plus_secs(s.min(RETRY_AFTER_MAX_S)));
    Some(drawn.max(asked).min(until))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_spread_over_72_hours_and_the_last_comes_at_their_end() {
        for (draws, fewest, most) in [(1.0, 18, 18), (0.5, 24, 28)] {
            let (start, until) = (UnixMillis(0), UnixMillis(RETRIES_S * 1000));
            let (mut now, mut tries) = (start, 1);
            let draw = |bound: u64| ((bound - 1) as f64 * draws) as u64;
            while let Some(at) = next(now, until, tries, None, draw) {
                now = at;
                tries += 1;
            }
            assert_eq!(now, until, "the last try is at the very end");
            assert!((fewest..=most).contains(&tries), "{draws}: {tries} tries");
        }
    }

    #[test]
    fn pauses_grow_and_what_the_endpoint_asks_for_is_honoured_within_bounds() {
        let pauses: Vec<_> = (1..12).map(longest_pause_ms).collect();
        assert!(pauses.is_sorted());
        let (now, until) = (UnixMillis(1000), UnixMillis(RETRIES_S * 1000));
        let soonest = |retry_after| next(now, until, 1, retry_after, |_| 0).unwrap();
        assert_eq!(soonest(None), now);
        assert_eq!(soonest(Some(120)), now.plus_secs(120));
        assert_eq!(soonest(Some(u64::MAX)), now.plus_secs(RETRY_AFTER_MAX_S));
        let late = UnixMillis(until.0 - 1);
        assert_eq!(next(late, until, 1, Some(120), |_| 0), Some(until));
        assert_eq!(next(until, until, 1, None, |_| 0), None);
    }
}
