//! Limits on wrong codes per device: a number a day, and a number in a row before the device is
//! locked. Wrong codes on one device cost another device of the same user nothing.

use fido_relay_proto::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{DAY_MS, Policy};

/// Named wrong claims that are kept, so that a repeat counts once.
const RECENT: usize = 8;

/// A hash of the app's `claim_id` and of the claim's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimHash(pub String);

/// Why no code from a device is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptsExhausted {
    /// Too many wrong ones today.
    Today,
    /// Too many wrong ones in a row.
    Locked,
}

/// The wrong codes that one device has sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeAttempts {
    /// The times of those of the last day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    wrong: Vec<UnixMillis>,
    /// Since the last right one.
    #[serde(default)]
    in_a_row: u32,
    /// The latest wrong claims with a `claim_id`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recent: Vec<ClaimHash>,
}

impl CodeAttempts {
    /// Why codes from this device are refused, if they are.
    #[must_use]
    pub fn exhausted(&self, policy: &Policy, now: UnixMillis) -> Option<AttemptsExhausted> {
        let within_a_day = |at: &&UnixMillis| now < at.plus_millis(DAY_MS);
        if self.in_a_row >= policy.wrong_codes_in_a_row {
            Some(AttemptsExhausted::Locked)
        } else if self.wrong.iter().filter(within_a_day).count() >= policy.wrong_codes_per_day {
            Some(AttemptsExhausted::Today)
        } else {
            None
        }
    }

    /// Whether this claim was counted as wrong already.
    #[must_use]
    pub fn has_counted(&self, claim: &ClaimHash) -> bool {
        self.recent.contains(claim)
    }

    /// How many wrong codes are left today.
    #[must_use]
    pub fn left_today(&self, policy: &Policy, now: UnixMillis) -> usize {
        let today = self.wrong.iter().filter(|at| now < at.plus_millis(DAY_MS)).count();
        policy.wrong_codes_per_day.saturating_sub(today)
    }

    /// Counts a wrong code. Committed before the device gets the refusal.
    ///
    /// # Errors
    /// [`AttemptsExhausted`]: no attempt was left, so the answer must not depend on the code.
    pub fn count_wrong(
        &mut self,
        policy: &Policy,
        now: UnixMillis,
        claim: Option<ClaimHash>,
    ) -> Result<(), AttemptsExhausted> {
        self.wrong.iter_mut().for_each(|at| *at = now.min(*at));
        self.wrong.retain(|at| now < at.plus_millis(DAY_MS));
        if let Some(exhausted) = self.exhausted(policy, now) {
            return Err(exhausted);
        }
        self.wrong.push(now);
        self.in_a_row = self.in_a_row.saturating_add(1);
        if let Some(claim) = claim {
            if self.recent.len() >= RECENT {
                self.recent.remove(0);
            }
            self.recent.push(claim);
        }
        Ok(())
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A right code resets the row; returns whether there was one.
    pub fn reset_row(&mut self) -> bool {
        std::mem::take(&mut self.in_a_row) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::prompt_limits::MINUTE_MS;

    const NOON: UnixMillis = UnixMillis(1_800_000_000_000);

    #[test]
    fn ten_wrong_codes_a_day_and_a_hundred_in_a_row() {
        let (policy, mut tries, mut now) = (Policy::default(), CodeAttempts::default(), NOON);
        let mut wrong = 0;
        for day in 0..10 {
            for _ in 0..10 {
                assert_eq!(tries.exhausted(&policy, now), None, "{day}");
                tries.count_wrong(&policy, now, None).unwrap();
                wrong += 1;
            }
            let blocked =
                if wrong < 100 { AttemptsExhausted::Today } else { AttemptsExhausted::Locked };
            assert_eq!(tries.exhausted(&policy, now), Some(blocked));
            assert_eq!(tries.count_wrong(&policy, now, None), Err(blocked), "nothing is looked at");
            now = now.plus_millis(24 * 60 * MINUTE_MS);
        }
        assert_eq!(
            tries.exhausted(&policy, now.plus_millis(1_000 * DAY_MS)),
            Some(AttemptsExhausted::Locked)
        );
        let mut other = CodeAttempts::default();
        for _ in 0..30 {
            for _ in 0..9 {
                other.count_wrong(&policy, now, None).unwrap();
            }
            assert!(other.reset_row(), "a right one ends the row");
            assert!(!other.reset_row());
            now = now.plus_millis(24 * 60 * MINUTE_MS);
        }
        assert_eq!(other.exhausted(&policy, now), None);
    }
}
