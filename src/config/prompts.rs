//! How much of a person's attention may be asked for: the keys, their defaults and bounds.

use std::time::Duration;

use super::reader::Reader;

/// Bounds of what one user is shown. See `docs/configuration.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompts {
    /// Ceremonies of a lane at a time.
    pub live: usize,
    /// Those of them that phones ring for at a time.
    pub ringing: usize,
    /// Prompts without a success in between that need no pause.
    pub free: u32,
    /// Pauses before the prompts after those; the last one repeats. Never empty.
    pub waits: Vec<Duration>,
    /// Prompts within an hour, of strangers and of one known browser.
    pub per_hour: usize,
    /// Prompts within an hour that one initiator vouches for.
    pub vouched_per_hour: usize,
    /// Pause for one initiator after its prompt was declined.
    pub declined_quiet: Duration,
    /// Pause for strangers after "not me".
    pub not_me_mute: Duration,
    /// Wrong codes of a device within a day.
    pub wrong_codes_per_day: usize,
    /// Wrong codes of a device in a row, after which it is locked.
    pub wrong_codes_in_a_row: u32,
    /// Whether the networks of phone and browser are compared when a code is typed.
    pub same_network: bool,
}

/// Longest pause, in seconds: a day.
const PAUSE_MAX_S: u64 = 24 * 60 * 60;

pub(super) fn read(reader: &mut Reader) -> Prompts {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let live = size(reader.number("prompts.live", 3, 1..=100));
    let ringing = size(reader.number("prompts.ringing", 1, 1..=100));
    let free = reader.number("prompts.free", 3, 1..=100_000);
    let waits: Vec<u64> = reader.take("prompts.waits_s", vec![60, 300, 1_800]);
    if waits.is_empty() || waits.iter().any(|wait| *wait > PAUSE_MAX_S) {
        reader.wrong("prompts.waits_s", "must be at least one number, none over 86400");
    }
    let in_a_row = reader.number("prompts.wrong_codes_in_a_row", 100, 10..=100_000);
    Prompts {
        live,
        ringing,
        free: u32::try_from(free).unwrap_or(u32::MAX),
        waits: waits.into_iter().map(Duration::from_secs).collect(),
        per_hour: size(reader.number("prompts.per_hour", 10, 1..=100_000)),
        vouched_per_hour: size(reader.number("prompts.vouched_per_hour", 20, 1..=100_000)),
        declined_quiet: Duration::from_secs(reader.number(
            "prompts.declined_quiet_s",
            60,
            0..=PAUSE_MAX_S,
        )),
        not_me_mute: Duration::from_secs(reader.number(
            "prompts.not_me_mute_s",
            1_200,
            60..=PAUSE_MAX_S,
        )),
        wrong_codes_per_day: size(reader.number("prompts.wrong_codes_per_day", 10, 3..=1_000)),
        same_network: reader.take("prompts.same_network", false),
        wrong_codes_in_a_row: u32::try_from(in_a_row).unwrap_or(u32::MAX),
    }
}
