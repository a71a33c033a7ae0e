//! Rate limits on prompts per user, across all initiators: the rules against prompting a person
//! until they give in ("MFA fatigue") and against guessing codes.
//!
//! There is one record for each username that was ever requested, whether such a user exists or not,
//! so that neither an answer nor its delay reveals which. Pure: no store, no clock and no socket. Of
//! a ceremony these rules know only that it was opened, by which client and from which browser, and
//! how it ended.
//!
//! ```text
//!  opened ──▶ admit ──▶ rings, counted in its lane
//!                  └──▶ suppressed: no phone rings, a typed code still finds it
//!  closed ──▶ ended     (expired unseen: the count is taken back; success: its lane is free)
//! ```
//!
//! Ringing is limited; answering by code is not. Each [`Lane`] has a budget of its own, and no lane
//! takes anything from another: an initiator that knows only a username uses up the budget of
//! strangers, and nothing of a browser in which the user has succeeded before.

mod budget;
mod code_attempts;
mod own;
mod policy;
mod request;
mod suppression;

use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{CeremonyId, ClientId, Outcome, Reason, UnixMillis};
use serde::{Deserialize, Serialize};

use self::budget::Budget;
pub use self::code_attempts::{AttemptsExhausted, ClaimHash, CodeAttempts};
pub use self::policy::Policy;
pub use self::request::{BrowserHash, EndedPrompt, Lane, PromptRequest};
pub use self::suppression::{PromptDecision, SuppressedPrompts, Suppression, SuppressionReason};

const MINUTE_MS: u64 = 60 * 1000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Known browsers that are kept per user.
const BROWSERS: usize = 8;
/// How long a browser is known after the user's last success in it, in milliseconds.
const BROWSER_KNOWN_MS: u64 = 90 * DAY_MS;
/// Unlocks of its own prompts that an initiator has within a day.
pub const UNLOCKS_PER_DAY: usize = 3;

/// The prompt counts and pauses of one username.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPromptState {
    live: Vec<CountedPrompt>,
    /// The budget of [`Lane::Stranger`].
    #[serde(rename = "plain")]
    strangers: Budget,
    /// Browsers in which the user has succeeded, each with a lane of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    browsers: Vec<Browser>,
    /// The budgets of [`Lane::Vouched`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    clients: Vec<(ClientId, Budget)>,
    /// Initiators whose prompt was declined, and until when they are quiet.
    quiet: Vec<(ClientId, UnixMillis)>,
    /// When an initiator lifted the pauses of its own prompts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unlocks: Vec<(ClientId, UnixMillis)>,
    /// Initiators whose next prompt rings even if unknown browsers have used up the limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    passes: Vec<ClientId>,
    /// The same rules over each initiator's own prompts alone, as if each reached a phone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    own: Vec<(ClientId, UserPromptState)>,
    #[serde(default, rename = "held", skip_serializing_if = "Option::is_none")]
    suppressed: Option<SuppressedPrompts>,
    /// When the last notice of suppressed prompts was due.
    #[serde(default, rename = "held_noticed", skip_serializing_if = "Option::is_none")]
    noticed: Option<UnixMillis>,
    touched: Option<UnixMillis>,
}

/// A prompt of an open ceremony, with what is needed to take its count back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CountedPrompt {
    ceremony: CeremonyId,
    #[serde(default, skip_serializing_if = "Lane::is_stranger")]
    lane: Lane,
    until: UnixMillis,
    /// When it was counted; none in records of earlier versions.
    #[serde(default)]
    at: Option<UnixMillis>,
    /// The lane's prompt before it.
    #[serde(default)]
    before: Option<UnixMillis>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Browser {
    hash: BrowserHash,
    succeeded: UnixMillis,
    #[serde(default)]
    budget: Budget,
}

impl UserPromptState {
    /// Decides whether a ceremony rings, and counts it if so. Idempotent for one ceremony.
    pub fn admit(
        &mut self,
        policy: &Policy,
        now: UnixMillis,
        request: &PromptRequest,
    ) -> PromptDecision {
        self.admit_own(policy, now, request);
        self.decide(policy, now, request)
    }

    fn decide(
        &mut self,
        policy: &Policy,
        now: UnixMillis,
        request: &PromptRequest,
    ) -> PromptDecision {
        self.prune(policy, now);
        if let Some(live) = self.live.iter().find(|live| live.ceremony == request.ceremony) {
            return PromptDecision { lane: live.lane.clone(), suppression: None, notice: None };
        }
        let lane = self.lane_of(request);
        self.touched = Some(now);
        let suppression = self.suppression(policy, now, &lane, Some(request.client));
        let pass = self.passes.iter().position(|client| *client == request.client);
        if suppression.is_some_and(|rule| !self.may_pass(&lane, request.client, rule)) {
            return PromptDecision { lane, suppression, notice: self.note_suppressed(now) };
        }
        if suppression.is_some()
            && let Some(pass) = pass
        {
            self.passes.swap_remove(pass);
        }
        let before = self.budget_mut(&lane).count(now);
        let (ceremony, until) = (request.ceremony, request.until);
        self.live.push(CountedPrompt {
            ceremony,
            lane: lane.clone(),
            until,
            at: Some(now),
            before,
        });
        PromptDecision { lane, suppression: None, notice: None }
    }

    fn lane_of(&self, request: &PromptRequest) -> Lane {
        let known = |hash: &&BrowserHash| self.browsers.iter().any(|known| known.hash == **hash);
        match (request.browser.as_ref().filter(known), request.prior_auth) {
            (Some(hash), _) => Lane::Known(hash.clone()),
            (None, PriorAuth::Password | PriorAuth::Session) => Lane::Vouched(request.client),
            (None, PriorAuth::None) => Lane::Stranger,
        }
    }

    /// The rule that would suppress a prompt of this lane now, and of this initiator if one is
    /// given.
    #[must_use]
    pub fn suppression(
        &self,
        policy: &Policy,
        now: UnixMillis,
        lane: &Lane,
        client: Option<ClientId>,
    ) -> Option<Suppression> {
        let none = Budget::default();
        let budget = self.budget(lane).unwrap_or(&none);
        let quiet =
            self.quiet.iter().find(|(quiet, _)| Some(*quiet) == client).map(|(_, end)| *end);
        let live = || {
            let of_lane = self.live.iter().filter(|live| live.lane == *lane && now < live.until);
            nth_end(of_lane.map(|live| live.until), policy.live)
        };
        let pause_ms = policy.pause_ms(lane, budget.unanswered);
        let rules = [
            (SuppressionReason::Muted, budget.muted_until),
            (SuppressionReason::Quiet, quiet),
            (
                SuppressionReason::Hour,
                nth_end(budget.ends_within_the_hour(), policy.per_hour(lane)),
            ),
            (SuppressionReason::Wait, budget.last.map(|last| last.plus_millis(pause_ms))),
            (SuppressionReason::Live, live()),
        ];
        let applies = |(reason, until): (SuppressionReason, Option<UnixMillis>)| {
            until.filter(|until| now < *until).map(|until| Suppression { reason, until })
        };
        rules.into_iter().find_map(applies)
    }

    /// Counts a suppressed prompt. Gives those that a notice is due of: at most one notice an hour.
    fn note_suppressed(&mut self, now: UnixMillis) -> Option<SuppressedPrompts> {
        let suppressed = self.suppressed.get_or_insert(SuppressedPrompts { count: 0, since: now });
        suppressed.count = suppressed.count.saturating_add(1);
        if self.noticed.is_some_and(|at| now < at.plus_millis(HOUR_MS)) {
            return None;
        }
        self.noticed = Some(now);
        self.suppressed.take()
    }

    /// Applies the end of a ceremony. Idempotent.
    pub fn ended(&mut self, policy: &Policy, end: &EndedPrompt) {
        self.ended_own(policy, end);
        self.settle(policy, end);
    }

    fn settle(&mut self, policy: &Policy, end: &EndedPrompt) {
        let live = self.live.iter().position(|live| live.ceremony == end.ceremony);
        if let Some(live) = live.map(|at| self.live.swap_remove(at))
            // A cancellation gives nothing back: an initiator could open and cancel to ring a phone
            // without spending its budget.
            && end.outcome == Outcome::Expired
            && !end.rang
            && let Some(at) = live.at
        {
            self.budget_mut(&live.lane).take_back(at, live.before);
        }
        match (end.outcome, end.reason) {
            (Outcome::Succeeded, _) => {
                // A ceremony found by its code alone was not counted, and frees nothing: otherwise
                // an attacker could ring three more times for each sign-in of the person.
                if end.rang {
                    self.budget_mut(&end.lane).clear();
                }
                if let Some(hash) = &end.browser {
                    self.know(hash, end.at);
                }
            }
            (Outcome::Denied, Some(Reason::NotMe)) => {
                self.mute_strangers(policy, end.at);
                // Of the vouched lanes only that of the initiator which opened this one.
                if matches!(end.lane, Lane::Vouched(_)) {
                    let until = end.at.plus_millis(policy.not_me_mute_ms);
                    self.budget_mut(&end.lane).mute(until);
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
            ) => return,
        }
        // No other end counts as a change: how long the record is kept must not reveal whether a
        // phone was reached.
        self.touched = self.touched.max(Some(end.at));
    }

    /// The person said "not me" to suppressed prompts.
    pub fn mute_strangers(&mut self, policy: &Policy, at: UnixMillis) {
        self.strangers.mute(at.plus_millis(policy.not_me_mute_ms));
        self.touched = self.touched.max(Some(at));
    }

    /// Whether strangers are muted because the person said "not me".
    #[must_use]
    pub fn is_after_not_me(&self, now: UnixMillis) -> bool {
        self.strangers.muted_until.is_some_and(|until| now < until)
    }

    /// Lifts every pause, "not me" included; for the operator.
    pub fn unlock_all(&mut self, now: UnixMillis) {
        self.strangers = Budget::default();
        self.clients.clear();
        self.browsers.iter_mut().for_each(|browser| browser.budget = Budget::default());
        self.quiet.clear();
        self.own.clear();
        self.touched = Some(now);
    }

    /// The lanes with a budget of their own at this time.
    #[must_use]
    pub fn lanes(&self, now: UnixMillis) -> Vec<Lane> {
        let known = |browser: &&Browser| now < browser.succeeded.plus_millis(BROWSER_KNOWN_MS);
        let browsers = self.browsers.iter().filter(known);
        let browsers = browsers.map(|browser| Lane::Known(browser.hash.clone()));
        let clients = self.clients.iter().filter(|(_, budget)| budget.is_in_use(now));
        let clients = clients.map(|(client, _)| Lane::Vouched(*client));
        std::iter::once(Lane::Stranger).chain(browsers).chain(clients).collect()
    }

    /// Initiators that are quiet because the person declined their prompt.
    pub fn quiet(&self, now: UnixMillis) -> impl Iterator<Item = ClientId> + '_ {
        self.quiet.iter().filter(move |(_, until)| now < *until).map(|(client, _)| *client)
    }

    /// When the record no longer changes any decision and may be removed.
    #[must_use]
    pub fn expires_at(&self) -> Option<UnixMillis> {
        let known = self.browsers.iter().map(|known| known.succeeded.plus_millis(BROWSER_KNOWN_MS));
        let touched = self.touched.map(|touched| touched.plus_millis(DAY_MS));
        known.max().max(touched)
    }

    fn know(&mut self, hash: &BrowserHash, at: UnixMillis) {
        match self.browsers.iter_mut().find(|known| known.hash == *hash) {
            Some(known) => known.succeeded = known.succeeded.max(at),
            None => {
                let (hash, budget) = (hash.clone(), Budget::default());
                self.browsers.push(Browser { hash, succeeded: at, budget });
            }
        }
        if self.browsers.len() > BROWSERS {
            let oldest = self.browsers.iter().enumerate().min_by_key(|(_, known)| known.succeeded);
            if let Some(oldest) = oldest.map(|(at, _)| at) {
                self.browsers.swap_remove(oldest);
            }
        }
    }

    fn budget(&self, lane: &Lane) -> Option<&Budget> {
        match lane {
            Lane::Stranger => Some(&self.strangers),
            Lane::Known(hash) => {
                self.browsers.iter().find(|known| known.hash == *hash).map(|known| &known.budget)
            }
            Lane::Vouched(client) => {
                self.clients.iter().find(|(of, _)| of == client).map(|(_, budget)| budget)
            }
        }
    }

    /// A browser that is no longer known counts as a stranger.
    fn budget_mut(&mut self, lane: &Lane) -> &mut Budget {
        match lane {
            Lane::Stranger => &mut self.strangers,
            Lane::Known(hash) => match self.browsers.iter_mut().find(|known| known.hash == *hash) {
                Some(known) => &mut known.budget,
                None => &mut self.strangers,
            },
            Lane::Vouched(client) => {
                let at = self.clients.iter().position(|(of, _)| of == client);
                let at = at.unwrap_or_else(|| {
                    self.clients.push((*client, Budget::default()));
                    self.clients.len() - 1
                });
                &mut self.clients[at].1
            }
        }
    }

    /// Drops what has ended. Nodes' clocks differ and may be set back, so every kept time is clamped:
    /// no pause becomes longer than its configured length.
    fn prune(&mut self, policy: &Policy, now: UnixMillis) {
        // Kept for an hour more: a late end still takes its count back.
        self.live.retain(|live| now < live.until.plus_millis(HOUR_MS));
        let latest = now.plus_millis(policy.declined_quiet_ms);
        self.quiet.iter_mut().for_each(|(_, until)| *until = latest.min(*until));
        self.quiet.retain(|(_, until)| now < *until);
        self.unlocks.iter_mut().for_each(|(_, at)| *at = now.min(*at));
        self.unlocks.retain(|(_, at)| now < at.plus_millis(DAY_MS));
        self.browsers.iter_mut().for_each(|known| known.succeeded = now.min(known.succeeded));
        self.browsers.retain(|known| now < known.succeeded.plus_millis(BROWSER_KNOWN_MS));
        self.noticed = self.noticed.map(|at| now.min(at));
        let latest = now.plus_millis(policy.not_me_mute_ms);
        self.strangers.prune(now, latest);
        self.browsers.iter_mut().for_each(|known| known.budget.prune(now, latest));
        self.clients.iter_mut().for_each(|(_, budget)| budget.prune(now, latest));
        self.clients.retain(|(_, budget)| budget.is_in_use(now));
        self.prune_own(now);
    }
}

/// The time from which fewer than `limit` of these have yet to end.
fn nth_end(ends: impl Iterator<Item = UnixMillis>, limit: usize) -> Option<UnixMillis> {
    let mut ends: Vec<_> = ends.collect();
    ends.sort_unstable();
    ends.get(ends.len().checked_sub(limit)?).copied()
}

#[cfg(test)]
mod tests;
