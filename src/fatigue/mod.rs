//! How much of a person's attention may be asked for, and by whom: the rules against prompting
//! somebody until they give in ("MFA fatigue") and against guessing codes.
//!
//! One record for each username that was ever asked for, whether there is such a user or not, so
//! that neither an answer nor its delay tells. Pure: it knows no store, no clock and no socket. It
//! does not know what a ceremony is either: only that one was opened, by whom, and how it ended.
//!
//! ```text
//!  opened ──▶ admit ──▶ shown (perhaps in the place of another)
//!                  └──▶ silent: stored and answered as any other, shown to nobody, expires
//!  ended  ──▶ ended      wrong code ──▶ spend_try
//! ```
//!
//! Asking costs nothing where the initiator knows no more than a username, so whoever asks like
//! that must not use up what somebody has who is past a password. Prompts with and without
//! [`PriorAuth`] are counted apart: the first never wait for the second, and take their place.

use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{CeremonyId, ClientId, Outcome, Reason, UnixMillis};
use serde::{Deserialize, Serialize};

const MINUTE_MS: u64 = 60 * 1000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The rules' numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Ceremonies of a user that may be waiting or under way at a time.
    pub live: usize,
    /// Those of them that phones ring for, while nobody has taken them up.
    pub ringing: usize,
    /// Prompts without a success in between that need no pause.
    pub free_prompts: u32,
    /// Pauses before the prompts after those, in milliseconds; the last one repeats.
    pub waits_ms: Vec<u64>,
    /// Prompts within an hour, counted by the minute: the last one of a minute counts up to 59
    /// seconds longer.
    pub prompts_per_hour: usize,
    /// Pause for one initiator after the person declined its prompt, in milliseconds.
    pub declined_quiet_ms: u64,
    /// Pause for everybody after "not me", in milliseconds.
    pub not_me_mute_ms: u64,
    /// Wrong codes within a day.
    pub wrong_codes_per_day: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            live: 3,
            ringing: 1,
            free_prompts: 3,
            waits_ms: vec![60_000, 5 * 60_000, 30 * 60_000],
            prompts_per_hour: 10,
            declined_quiet_ms: 60_000,
            not_me_mute_ms: 20 * 60_000,
            wrong_codes_per_day: 10,
        }
    }
}

impl Policy {
    fn pause_ms(&self, unanswered: u32) -> u64 {
        let Some(over) = unanswered.checked_sub(self.free_prompts) else { return 0 };
        let at = usize::try_from(over).unwrap_or(usize::MAX);
        self.waits_ms.get(at).or(self.waits_ms.last()).copied().unwrap_or(0)
    }
}

/// A ceremony that asks for the person's attention.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The ceremony.
    pub ceremony: CeremonyId,
    /// Its initiator.
    pub client: ClientId,
    /// How the initiator knew the user.
    pub prior_auth: PriorAuth,
    /// Whether a code must be typed.
    pub needs_code: bool,
    /// When it expires.
    pub until: UnixMillis,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is shown, in the place of this one if it is still waiting.
    Shown {
        /// One without [`PriorAuth`], which one with it displaces.
        displaced: Option<CeremonyId>,
    },
    /// It is shown to nobody.
    Silent(Why),
}

/// Why a ceremony is shown to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The person said "not me" a while ago.
    Muted,
    /// The person declined this initiator's prompt a moment ago.
    Quiet,
    /// No more wrong codes are taken from this user's phones today.
    CodesSpent,
    /// As many prompts as an hour may have.
    Hour,
    /// Too soon after prompts that led to nothing.
    Wait,
    /// As many ceremonies at a time as a user may have.
    Live,
    /// One that knew more of the user took its place.
    Displaced,
}

impl Why {
    /// Its name in logs and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Muted => "muted",
            Self::Quiet => "quiet",
            Self::CodesSpent => "codes_spent",
            Self::Hour => "hour",
            Self::Wait => "wait",
            Self::Live => "live",
            Self::Displaced => "displaced",
        }
    }

    /// The key of the configuration that sets the rule's number.
    #[must_use]
    pub const fn setting(self) -> Option<&'static str> {
        match self {
            Self::Muted => Some("prompts.not_me_mute_s"),
            Self::Quiet => Some("prompts.declined_quiet_s"),
            Self::CodesSpent => Some("prompts.wrong_codes_per_day"),
            Self::Hour => Some("prompts.per_hour"),
            Self::Wait => Some("prompts.waits_s"),
            Self::Live => Some("prompts.live"),
            Self::Displaced => None,
        }
    }
}

/// What is known of one user's attention.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    live: Vec<Live>,
    /// Of prompts behind which there was only a username.
    plain: Budget,
    /// Of prompts behind which there was a password or a session.
    vouched: Budget,
    /// Who was declined, and until when it is quiet.
    quiet: Vec<(ClientId, UnixMillis)>,
    wrong_codes: Vec<UnixMillis>,
    /// The last change.
    touched: Option<UnixMillis>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Live {
    ceremony: CeremonyId,
    vouched: bool,
    until: UnixMillis,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Budget {
    /// How many there were in each minute of the last hour, oldest first: so the record stays
    /// small whatever the policy allows.
    minutes: Vec<(UnixMillis, u32)>,
    last: Option<UnixMillis>,
    /// Since the last success.
    unanswered: u32,
    muted_until: Option<UnixMillis>,
}

/// How a ceremony ended, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The ceremony.
    pub ceremony: CeremonyId,
    /// Its initiator.
    pub client: ClientId,
    /// How the initiator knew the user.
    pub prior_auth: PriorAuth,
    /// The outcome.
    pub outcome: Outcome,
    /// Its reason.
    pub reason: Option<Reason>,
    /// When.
    pub at: UnixMillis,
}

impl End {
    /// Whether it changes more than that the ceremony no longer counts as live, which time does
    /// by itself.
    #[must_use]
    pub fn is_a_word_of_the_person(&self) -> bool {
        self.outcome == Outcome::Denied
    }
}

impl Standing {
    /// Decides whether a ceremony is shown, and counts it if so. The same ceremony again is
    /// decided as before and counted once.
    pub fn admit(&mut self, policy: &Policy, now: UnixMillis, ask: &Ask) -> Admission {
        self.forget_what_is_over(policy, now);
        if self.live.iter().any(|live| live.ceremony == ask.ceremony) {
            return Admission::Shown { displaced: None };
        }
        let vouched = is_vouched(ask.prior_auth);
        let budget = if vouched { &self.vouched } else { &self.plain };
        if let Some(why) = self.objection(policy, now, ask, budget) {
            return Admission::Silent(why);
        }
        let displaced = self.live.iter().position(|live| vouched && !live.vouched);
        if self.live.len() - usize::from(displaced.is_some()) >= policy.live {
            return Admission::Silent(Why::Live);
        }
        let displaced = displaced.map(|at| self.live.remove(at).ceremony);
        self.live.push(Live { ceremony: ask.ceremony, vouched, until: ask.until });
        let budget = if vouched { &mut self.vouched } else { &mut self.plain };
        budget.count(now);
        self.touched = Some(now);
        Admission::Shown { displaced }
    }

    fn objection(
        &self,
        policy: &Policy,
        now: UnixMillis,
        ask: &Ask,
        budget: &Budget,
    ) -> Option<Why> {
        let pause_ms = policy.pause_ms(budget.unanswered);
        if budget.muted_until.is_some_and(|until| now < until) {
            Some(Why::Muted)
        } else if self.quiet.iter().any(|(client, _)| *client == ask.client) {
            Some(Why::Quiet)
        } else if ask.needs_code && self.codes_are_spent(policy, now) {
            Some(Why::CodesSpent)
        } else if budget.within_the_hour() >= policy.prompts_per_hour {
            Some(Why::Hour)
        } else if budget.last.is_some_and(|last| now < last.plus_millis(pause_ms)) {
            Some(Why::Wait)
        } else {
            None
        }
    }

    /// When the rule that objected to this ask would let it pass, if nothing happens before then.
    #[must_use]
    pub fn passes_at(&self, policy: &Policy, ask: &Ask, why: Why) -> Option<UnixMillis> {
        let budget = if is_vouched(ask.prior_auth) { &self.vouched } else { &self.plain };
        match why {
            Why::Muted => budget.muted_until,
            Why::Quiet => {
                self.quiet.iter().find(|(client, _)| *client == ask.client).map(|(_, end)| *end)
            }
            Why::CodesSpent => {
                let ends = self.wrong_codes.iter().map(|at| at.plus_millis(DAY_MS));
                nth_end(ends, policy.wrong_codes_per_day)
            }
            Why::Hour => {
                let ends = budget.minutes.iter().flat_map(|(from, prompts)| {
                    let end = from.plus_millis(MINUTE_MS + HOUR_MS);
                    std::iter::repeat_n(end, usize::try_from(*prompts).unwrap_or(usize::MAX))
                });
                nth_end(ends, policy.prompts_per_hour)
            }
            Why::Wait => {
                budget.last.map(|last| last.plus_millis(policy.pause_ms(budget.unanswered)))
            }
            Why::Live => nth_end(self.live.iter().map(|live| live.until), policy.live),
            Why::Displaced => None,
        }
    }

    /// A ceremony that was shown has ended. Telling it again changes nothing.
    pub fn ended(&mut self, policy: &Policy, end: &End) {
        self.live.retain(|live| live.ceremony != end.ceremony);
        match (end.outcome, end.reason) {
            (Outcome::Succeeded, _) => {
                self.plain.unanswered = 0;
                self.vouched.unanswered = 0;
            }
            (Outcome::Denied, Some(Reason::NotMe)) => {
                let until = end.at.plus_millis(policy.not_me_mute_ms);
                self.plain.mute(until);
                // Somebody who knows nothing but the name cannot have the others muted.
                if is_vouched(end.prior_auth) {
                    self.vouched.mute(until);
                }
            }
            (Outcome::Denied, _) => {
                let until = end.at.plus_millis(policy.declined_quiet_ms);
                self.quiet.retain(|(client, _)| *client != end.client);
                self.quiet.push((end.client, until));
            }
            (
                Outcome::Rejected
                | Outcome::Failed
                | Outcome::Expired
                | Outcome::Cancelled
                | Outcome::Indeterminate,
                _,
            ) => {}
        }
        self.touched = self.touched.max(Some(end.at));
    }

    /// Whether no code of this user's phones is looked at any more.
    #[must_use]
    pub fn codes_are_spent(&self, policy: &Policy, now: UnixMillis) -> bool {
        let within_a_day = |at: &&UnixMillis| now < at.plus_millis(DAY_MS);
        self.wrong_codes.iter().filter(within_a_day).count() >= policy.wrong_codes_per_day
    }

    /// Counts a wrong code, before anybody is told that it was wrong. `false`: there was no try
    /// left, and nothing may be told.
    pub fn spend_try(&mut self, policy: &Policy, now: UnixMillis) -> bool {
        self.forget_what_is_over(policy, now);
        if self.codes_are_spent(policy, now) {
            return false;
        }
        self.wrong_codes.push(now);
        self.touched = Some(now);
        true
    }

    /// When nothing of the record matters any more.
    #[must_use]
    pub fn dies_at(&self) -> Option<UnixMillis> {
        self.touched.map(|touched| touched.plus_millis(DAY_MS))
    }

    /// Drops what no longer matters. Nodes' clocks differ and may be set back: no pause becomes
    /// longer by that than it is.
    fn forget_what_is_over(&mut self, policy: &Policy, now: UnixMillis) {
        self.live.retain(|live| now < live.until);
        let latest = now.plus_millis(policy.declined_quiet_ms);
        self.quiet.iter_mut().for_each(|(_, until)| *until = latest.min(*until));
        self.quiet.retain(|(_, until)| now < *until);
        self.wrong_codes.iter_mut().for_each(|at| *at = now.min(*at));
        self.wrong_codes.retain(|at| now < at.plus_millis(DAY_MS));
        let latest = now.plus_millis(policy.not_me_mute_ms);
        for budget in [&mut self.plain, &mut self.vouched] {
            budget.minutes.iter_mut().for_each(|(from, _)| *from = now.min(*from));
            budget.minutes.retain(|(from, _)| now < from.plus_millis(MINUTE_MS + HOUR_MS));
            budget.last = budget.last.map(|last| now.min(last));
            budget.muted_until = budget.muted_until.map(|until| latest.min(until));
        }
    }
}

impl Budget {
    fn count(&mut self, now: UnixMillis) {
        let minute = UnixMillis(now.0 - now.0 % MINUTE_MS);
        match self.minutes.last_mut() {
            Some((last, prompts)) if *last == minute => *prompts = prompts.saturating_add(1),
            Some(_) | None => self.minutes.push((minute, 1)),
        }
        self.last = Some(now);
        self.unanswered = self.unanswered.saturating_add(1);
    }

    fn within_the_hour(&self) -> usize {
        let prompts = self.minutes.iter().map(|(_, prompts)| u64::from(*prompts)).sum::<u64>();
        usize::try_from(prompts).unwrap_or(usize::MAX)
    }

    fn mute(&mut self, until: UnixMillis) {
        self.muted_until = self.muted_until.max(Some(until));
    }
}

/// When fewer than `limit` of these are left.
fn nth_end(ends: impl Iterator<Item = UnixMillis>, limit: usize) -> Option<UnixMillis> {
    let mut ends: Vec<_> = ends.collect();
    ends.sort_unstable();
    ends.get(ends.len().checked_sub(limit)?).copied()
}

fn is_vouched(prior_auth: PriorAuth) -> bool {
    match prior_auth {
        PriorAuth::None => false,
        PriorAuth::Password | PriorAuth::Session => true,
    }
}

#[cfg(test)]
mod tests;
