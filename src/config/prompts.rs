//! How often a user's phones ring: the table `prompts` of the configuration.

use std::time::Duration;

use super::limit::{Limit, LimitValue, Weakness, limits};
use super::reader::ConfigReader;

/// The longest pause, in seconds: a day.
const PAUSE_MAX_S: u64 = 24 * 60 * 60;

limits! {
    /// Bounds of what one user is shown.
    pub struct Prompts {
        /// Ceremonies per lane that ring or wait for their turn; more do not ring.
        live: usize = Limit::new("prompts.live", 3, 1..=100);
        /// Ceremonies per lane that ring at a time; the typed code selects the ceremony.
        ringing: usize = Limit::new("prompts.ringing", 1, 1..=100)
            .weak_above(
                3,
                "a phone may ring for more than 3 ceremonies at a time: people confirm what they \
                 do not read",
            )
            .better("the default of 1");
        /// Prompts in the unknown lane, or of one known browser, without a pause since the last
        /// success in that lane.
        free: u32 = Limit::new("prompts.free", 3, 1..=100_000)
            .weak_above(
                10,
                "a person may be asked more than 10 times without a pause, until they give in",
            )
            .better("the default of 3");
        /// Prompts within an hour in the unknown lane, and of one known browser, however they end.
        per_hour: usize = Limit::new("prompts.per_hour", 10, 1..=100_000)
            .weak_above(30, "a person may be asked more than 30 times an hour, until they give in")
            .better("the default of 10");
        /// Prompts within an hour that one initiator vouches for: a stolen key cannot ring more.
        vouched_per_hour: usize = Limit::new("prompts.vouched_per_hour", 20, 1..=100_000);
        /// Seconds after a declined prompt in which its initiator rings nothing, in any lane.
        declined_quiet: Duration = Limit::new("prompts.declined_quiet_s", 60, 0..=PAUSE_MAX_S);
        /// Seconds after "not me" in which unknown browsers ring nothing, nor the initiator that
        /// vouched for the reported prompt. Known browsers still ring.
        not_me_mute: Duration = Limit::new("prompts.not_me_mute_s", 1_200, 60..=PAUSE_MAX_S);
        /// Wrong codes of a phone within a day, after which its codes are ignored.
        wrong_codes_per_day: usize = Limit::new("prompts.wrong_codes_per_day", 10, 3..=1_000)
            .weak_above(20, "more than 20 wrong codes a day: a stolen phone may guess for long")
            .better("the default of 10");
        /// Wrong codes of a phone without a right one in between, after which it is locked:
        /// `fido-relay user unlock`, or revoke it and pair it again.
        wrong_codes_in_a_row: u32 = Limit::new("prompts.wrong_codes_in_a_row", 100, 10..=100_000);
        and {
            /// Pauses between the prompts after the free ones; the last repeats. Never empty.
            waits: Vec<Duration> = read_waits;
            /// Whether the networks of phone and browser are compared when a code is typed.
            same_network: bool = |reader: &mut ConfigReader| reader.take("prompts.same_network", false);
        }
    }
}

fn read_waits(reader: &mut ConfigReader) -> Vec<Duration> {
    let waits: Vec<u64> = reader.take("prompts.waits_s", vec![60, 300, 1_800]);
    if waits.is_empty() || waits.iter().any(|wait| *wait > PAUSE_MAX_S) {
        let text = format!("must be at least one number, none over {PAUSE_MAX_S}");
        reader.reject("prompts.waits_s", text);
    }
    waits.into_iter().map(Duration::from_secs).collect()
}
