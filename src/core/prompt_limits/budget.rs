//! The counts of one lane: prompts of the last hour, and those since the last success.

use fido_relay_proto::UnixMillis;
use serde::{Deserialize, Serialize};

use super::{HOUR_MS, MINUTE_MS};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Budget {
    /// How many there were in each minute of the last hour, oldest first: so the record stays small
    /// under every policy.
    minutes: Vec<(UnixMillis, u32)>,
    pub(super) last: Option<UnixMillis>,
    /// Since the last success.
    pub(super) unanswered: u32,
    pub(super) muted_until: Option<UnixMillis>,
}

impl Budget {
    /// Counts a prompt, and returns the time of the previous one.
    pub(super) fn count(&mut self, now: UnixMillis) -> Option<UnixMillis> {
        let minute = minute_of(now);
        match self.minutes.last_mut() {
            Some((last, prompts)) if *last == minute => *prompts = prompts.saturating_add(1),
            Some(_) | None => self.minutes.push((minute, 1)),
        }
        self.unanswered = self.unanswered.saturating_add(1);
        self.last.replace(now)
    }

    /// Takes back a prompt that was counted at this time.
    pub(super) fn take_back(&mut self, at: UnixMillis, before: Option<UnixMillis>) {
        let minute = minute_of(at);
        if let Some((_, prompts)) = self.minutes.iter_mut().find(|(from, _)| *from == minute) {
            *prompts = prompts.saturating_sub(1);
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.last == Some(at) {
            self.last = before;
        }
    }

    /// After a success everything is free again; "not me" stays.
    pub(super) fn clear(&mut self) {
        *self = Self { muted_until: self.muted_until, ..Self::default() };
    }

    pub(super) fn mute(&mut self, until: UnixMillis) {
        self.muted_until = self.muted_until.max(Some(until));
    }

    /// When each prompt of the last hour stops to count.
    pub(super) fn ends_within_the_hour(&self) -> impl Iterator<Item = UnixMillis> + '_ {
        self.minutes.iter().flat_map(|(from, prompts)| {
            let end = from.plus_millis(MINUTE_MS + HOUR_MS);
            std::iter::repeat_n(end, usize::try_from(*prompts).unwrap_or(usize::MAX))
        })
    }

    pub(super) fn is_in_use(&self, now: UnixMillis) -> bool {
        !self.minutes.is_empty() || self.muted_until.is_some_and(|until| now < until)
    }

    pub(super) fn prune(&mut self, now: UnixMillis, latest_mute: UnixMillis) {
        self.minutes.iter_mut().for_each(|(from, _)| *from = now.min(*from));
        self.minutes.retain(|(from, _)| now < from.plus_millis(MINUTE_MS + HOUR_MS));
        self.last = self.last.map(|last| now.min(last));
        self.muted_until = self.muted_until.map(|until| latest_mute.min(until));
    }
}

fn minute_of(at: UnixMillis) -> UnixMillis {
    UnixMillis(at.0 - at.0 % MINUTE_MS)
}
