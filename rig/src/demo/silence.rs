//! For how long no phone shows what the bank opens, after its customer reported "that was not me".
//!
//! The rule is the relay's (`prompts.not_me_mute_s`): a report mutes openings without a session,
//! and those with one only if it was about such an opening; a browser in which the customer has
//! succeeded before is never muted. The relay does not show an initiator which of its ceremonies are
//! muted, so a bank that wants to say so counts along, with the length of the pause from its operator.

use std::collections::VecDeque;
use std::time::Duration;

use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{BrowserSecret, UnixMillis};

/// Browsers that the relay remembers for a user.
const BROWSERS: usize = 8;

/// Until when a report mutes the customer's phones.
#[derive(Debug)]
pub struct Silence {
    mute: Duration,
    known: VecDeque<BrowserSecret>,
    plain_until: UnixMillis,
    vouched_until: UnixMillis,
}

impl Silence {
    /// Nothing was reported yet; a report mutes for this long.
    #[must_use]
    pub const fn new(mute: Duration) -> Self {
        let (plain_until, vouched_until) = (UnixMillis(0), UnixMillis(0));
        Self { mute, known: VecDeque::new(), plain_until, vouched_until }
    }

    /// The customer has succeeded in this browser: the latest eight are known.
    pub fn know(&mut self, browser: &BrowserSecret) {
        self.known.retain(|known| known != browser);
        self.known.push_back(browser.clone());
        if self.known.len() > BROWSERS {
            self.known.pop_front();
        }
    }

    /// Whether the customer has succeeded in this browser.
    #[must_use]
    pub fn is_known(&self, browser: Option<&BrowserSecret>) -> bool {
        browser.is_some_and(|browser| self.known.contains(browser))
    }

    /// Counts a report that the bank learnt of at this time: the relay's pause ends no later.
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

    /// Seconds until phones show such an opening again, rounded up; nothing if they do now.
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
        let mut silence = Silence::new(Duration::from_secs(60));
        let left = |silence: &Silence, now| {
            [PriorAuth::None, PriorAuth::Session].map(|it| silence.left_s(it, UnixMillis(now)))
        };
        assert_eq!(left(&silence, 5_000), [None, None]);
        silence.reported(PriorAuth::None, UnixMillis(5_000));
        assert_eq!(left(&silence, 5_001), [Some(60), None]);
        silence.reported(PriorAuth::Session, UnixMillis(10_000));
        assert_eq!(left(&silence, 64_001), [Some(6), Some(6)]);
        silence.reported(PriorAuth::None, UnixMillis(5_000));
        assert_eq!(left(&silence, 69_999), [Some(1), Some(1)], "an older report shortens nothing");
        assert_eq!(left(&silence, 70_000), [None, None]);
    }
    #[test]
    fn browsers_with_a_success_are_known_the_latest_eight_of_them() {
        let mut silence = Silence::new(Duration::from_secs(60));
        let browser = |n: u8| BrowserSecret::try_from(format!("{n:022}")).unwrap();
        for n in [0, 1, 0, 2, 3, 4, 5, 6, 7, 8] {
            silence.know(&browser(n));
        }
        let known = |n: u8| silence.is_known(Some(&browser(n)));
        assert!(known(0) && !known(1) && known(8), "the one that was not used for longest is gone");
        assert!(!silence.is_known(None));
    }
}
