//! Wrong codes that were typed on one device: so many a day, and so many in a row before the device
//! is locked. Of another device of the same user they cost nothing.

use fido_relay_proto::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{DAY_MS, Policy};

/// Claims that are recognised when they are sent again.
const RECENT: usize = 8;

/// Names one claim: a hash of the app's name for it and of what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClaimHash(pub String);

/// Why no code of a device is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Too many wrong ones today.
    Today,
    /// Too many wrong ones in a row.
    Locked,
}

/// Wrong codes of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tries {
    /// Of the last day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    wrong: Vec<UnixMillis>,
    /// Since the last right one.
    #[serde(default)]
    in_a_row: u32,
    /// The latest wrong claims that had a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recent: Vec<ClaimHash>,
}

impl Tries {
    /// Whether codes of this device are looked at.
    #[must_use]
    pub fn blocked(&self, policy: &Policy, now: UnixMillis) -> Option<Blocked> {
        let within_a_day = |at: &&UnixMillis| now < at.plus_millis(DAY_MS);
        if self.in_a_row >= policy.wrong_codes_in_a_row {
            Some(Blocked::Locked)
        } else if self.wrong.iter().filter(within_a_day).count() >= policy.wrong_codes_per_day {
            Some(Blocked::Today)
        } else {
            None
        }
    }

    /// Whether this claim was counted as wrong before.
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

    /// Counts a wrong code, before anybody can learn that it was wrong.
    ///
    /// # Errors
    /// [`Blocked`]: there was no try left, and nothing may be said of the code.
    pub fn spend(
        &mut self,
        policy: &Policy,
        now: UnixMillis,
        claim: Option<ClaimHash>,
    ) -> Result<(), Blocked> {
        self.wrong.iter_mut().for_each(|at| *at = now.min(*at));
        self.wrong.retain(|at| now < at.plus_millis(DAY_MS));
        if let Some(blocked) = self.blocked(policy, now) {
            return Err(blocked);
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

    /// A right code ends the row; says whether there was one.
    pub fn right(&mut self) -> bool {
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
        let (policy, mut tries, mut now) = (Policy::default(), Tries::default(), NOON);
        let mut wrong = 0;
        for day in 0..10 {
            for _ in 0..10 {
                assert_eq!(tries.blocked(&policy, now), None, "{day}");
                tries.spend(&policy, now, None).unwrap();
                wrong += 1;
            }
            let blocked = if wrong < 100 { Blocked::Today } else { Blocked::Locked };
            assert_eq!(tries.blocked(&policy, now), Some(blocked));
            assert_eq!(tries.spend(&policy, now, None), Err(blocked), "nothing is looked at");
            now = now.plus_millis(24 * 60 * MINUTE_MS);
        }
        assert_eq!(tries.blocked(&policy, now.plus_millis(1_000 * DAY_MS)), Some(Blocked::Locked));
        let mut other = Tries::default();
        for _ in 0..30 {
            for _ in 0..9 {
                other.spend(&policy, now, None).unwrap();
            }
            assert!(other.right(), "a right one ends the row");
            assert!(!other.right());
            now = now.plus_millis(24 * 60 * MINUTE_MS);
        }
        assert_eq!(other.blocked(&policy, now), None);
    }
}
