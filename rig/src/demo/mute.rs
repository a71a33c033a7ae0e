//! An estimate of how long the relay mutes the bank's ceremonies after a report of "not me".
//!
//! The rule is the relay's (`prompts.not_me_mute_s`): a report mutes openings without a session, and
//! those with one only if it was about such an opening; a browser in which the customer has succeeded
//! before is never muted. The relay does not tell initiators which ceremonies are muted, so a bank
//! that shows it computes it, with a length of the mute that its operator sets.

use std::collections::VecDeque;
use std::time::Duration;

use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{BrowserSecret, UnixMillis};

/// Known browsers of a user, as at the relay.
const BROWSERS: usize = 8;

/// Until when reports mute the customer's phones.
#[derive(Debug)]
pub struct MuteEstimate {
    mute: Duration,
    known: VecDeque<BrowserSecret>,
    plain_until: UnixMillis,
    vouched_until: UnixMillis,
}

impl MuteEstimate {
    /// Without a report yet; each mutes for this long.
    #[must_use]
    pub const fn new(mute: Duration) -> Self {
        let (plain_until, vouched_until) = (UnixMillis(0), UnixMillis(0));
        Self { mute, known: VecDeque::new(), plain_until, vouched_until }
    }

    /// Makes a browser known after a success in it; the latest eight are kept.
    pub fn know(&mut self, browser: &BrowserSecret) {
        self.known.retain(|known| known != browser);
        self.known.push_back(browser.clone());
        if self.known.len() > BROWSERS {
            self.known.pop_front();
        }
    }

    #[must_use]
    pub fn is_known(&self, browser: Option<&BrowserSecret>) -> bool {
        browser.is_some_and(|browser| self.known.contains(browser))
    }

    /// Counts a report seen at this time; the relay's mute ends no later than the estimate.
    pub fn reported(&mut self, prior_auth: PriorAuth, at: UnixMillis) {
        let until = at.plus_millis(u64::try_from(self.mute.as_millis()).unwrap_or(u64::MAX));
        self.plain_until = self.plain_until.max(until);
        match prior_auth {
            PriorAuth::None => {}
            PriorAuth::Password | PriorAuth::Session => {
                self.vouched_until = self.vouched_until.max(until);
            }
        }
    }

    /// Seconds until phones show such an opening again, rounded up; `None` if they do now.
    #[must_use]
    pub fn left_s(&self, prior_auth: PriorAuth, now: UnixMillis) -> Option<u64> {
        let until = match prior_auth {
            PriorAuth::None => self.plain_until,
            PriorAuth::Password | PriorAuth::Session => self.vouched_until,
        };
        Some(until.0.saturating_sub(now.0).div_ceil(1000)).filter(|seconds| *seconds > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_on_a_sign_in_mutes_sign_ins_and_one_from_a_session_mutes_both() {
        let mut estimate = MuteEstimate::new(Duration::from_secs(60));
        let left = |estimate: &MuteEstimate, now| {
            [PriorAuth::None, PriorAuth::Session].map(|it| estimate.left_s(it, UnixMillis(now)))
        };
        assert_eq!(left(&estimate, 5_000), [None, None]);
        estimate.reported(PriorAuth::None, UnixMillis(5_000));
        assert_eq!(left(&estimate, 5_001), [Some(60), None]);
        estimate.reported(PriorAuth::Session, UnixMillis(10_000));
        assert_eq!(left(&estimate, 64_001), [Some(6), Some(6)]);
        estimate.reported(PriorAuth::None, UnixMillis(5_000));
        assert_eq!(left(&estimate, 69_999), [Some(1), Some(1)], "an older report shortens nothing");
        assert_eq!(left(&estimate, 70_000), [None, None]);
    }

    #[test]
    fn browsers_with_a_success_are_known_the_latest_eight_of_them() {
        let mut estimate = MuteEstimate::new(Duration::from_secs(60));
        let browser = |n: u8| BrowserSecret::try_from(format!("{n:022}")).unwrap();
        for n in [0, 1, 0, 2, 3, 4, 5, 6, 7, 8] {
            estimate.know(&browser(n));
        }
        let known = |n: u8| estimate.is_known(Some(&browser(n)));
        assert!(known(0) && !known(1) && known(8), "the one that was not used for longest is gone");
        assert!(!estimate.is_known(None));
    }
}
