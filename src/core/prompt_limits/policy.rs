//! The limits of the rules, as an operator may configure them.

use super::Lane;

/// The limits on prompts and codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Open ceremonies of a lane, ringing or waiting.
    pub live: usize,
    /// Those of them that may ring at a time before a phone claims them.
    pub ringing: usize,
    /// Prompts without a success in between that need no pause.
    pub free_prompts: u32,
    /// Pauses before the prompts after those, in milliseconds; the last one repeats.
    pub waits_ms: Vec<u64>,
    /// Prompts of strangers, and of one known browser, within an hour, counted by the minute: the
    /// last one of a minute counts up to 59 seconds longer.
    pub prompts_per_hour: usize,
    /// Prompts of one initiator with `prior_auth`, within an hour.
    pub vouched_per_hour: usize,
    /// Pause for one initiator after the person declined its prompt, in milliseconds.
    pub declined_quiet_ms: u64,
    /// Pause for strangers after "not me", in milliseconds.
    pub not_me_mute_ms: u64,
    /// Wrong codes of a device within a day.
    pub wrong_codes_per_day: usize,
    /// Wrong codes of a device in a row, after which it is locked.
    pub wrong_codes_in_a_row: u32,
    /// Whether the networks of phone and browser are compared when a code is typed.
    pub same_network: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            live: 3,
            ringing: 1,
            free_prompts: 3,
            waits_ms: vec![60_000, 5 * 60_000, 30 * 60_000],
            prompts_per_hour: 10,
            vouched_per_hour: 20,
            declined_quiet_ms: 60_000,
            not_me_mute_ms: 20 * 60_000,
            wrong_codes_per_day: 10,
            wrong_codes_in_a_row: 100,
            same_network: false,
        }
    }
}

impl Policy {
    pub(super) fn pause_ms(&self, lane: &Lane, unanswered: u32) -> u64 {
        let has_pauses = match lane {
            Lane::Stranger | Lane::Known(_) => true,
            Lane::Vouched(_) => false,
        };
        let over = unanswered.checked_sub(self.free_prompts).filter(|_| has_pauses);
        let Some(over) = over else { return 0 };
        let at = usize::try_from(over).unwrap_or(usize::MAX);
        self.waits_ms.get(at).or(self.waits_ms.last()).copied().unwrap_or(0)
    }

    pub(super) fn per_hour(&self, lane: &Lane) -> usize {
        match lane {
            Lane::Stranger | Lane::Known(_) => self.prompts_per_hour,
            Lane::Vouched(_) => self.vouched_per_hour,
        }
    }
}
