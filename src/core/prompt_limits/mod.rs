//! How much of a person's attention may be asked for, and by which askers: the rules against
//! prompting a person until they give in ("MFA fatigue") and against guessing codes.
//!
//! One record for each username that was ever asked for, whether there is such a user or not, so
//! that neither an answer nor its delay tells. Pure: it knows no store, no clock and no socket. It
//! does not know what a ceremony is either: only that one was opened, by which client and from which
//! browser, and how it ended.
//!
//! ```text
//!  opened ──▶ admit ──▶ rings, counted in its lane
//!                  └──▶ held back: no phone rings, a typed code still finds it
//!  ended  ──▶ ended     (expired unseen: the count is taken back; success: its lane is free)
//! ```
//!
//! Ringing is what is limited; answering by code is not. Each [`Lane`] has a budget of its own, and
//! no lane takes anything from another: an asker who knows a username and no more uses up what
//! strangers have, and nothing of a browser in which the user has succeeded before.

mod budget;
mod own;
mod policy;
mod tries;

use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{CeremonyId, ClientId, Outcome, Reason, UnixMillis};
use serde::{Deserialize, Serialize};

use self::budget::Budget;
pub use self::policy::Policy;
pub use self::tries::{Blocked, ClaimHash, Tries};

const MINUTE_MS: u64 = 60 * 1000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Browsers that are remembered for a user.
const BROWSERS: usize = 8;
/// How long a browser is known after the user's last success in it, in milliseconds.
const BROWSER_KNOWN_MS: u64 = 90 * DAY_MS;
/// How often an initiator may lift the pauses of its own prompts within a day.
pub const UNLOCKS_PER_DAY: usize = 3;

/// A keyed hash of a browser's secret (base64url): two are equal where the browsers are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BrowserHash(pub String);

/// Whose budget a prompt is counted in. A lane's prompts wait for each other and for no others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// A browser in which the user has succeeded before.
    Known(BrowserHash),
    /// This initiator says that it knew the user by a password or a session.
    Vouched(ClientId),
    /// All initiators that know no more than a username.
    #[default]
    Stranger,
}

impl Lane {
    /// Whether the asker knew no more than a username.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        *self == Self::Stranger
    }
}

/// A ceremony that asks for the person's attention.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The ceremony.
    pub ceremony: CeremonyId,
    /// Its initiator.
    pub client: ClientId,
    /// How the initiator knew the user, as far as it is believed.
    pub prior_auth: PriorAuth,
    /// The browser, where the initiator tells browsers apart.
    pub browser: Option<BrowserHash>,
    /// When it expires.
    pub until: UnixMillis,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Where it is counted if it rings.
    pub lane: Lane,
    /// Why it does not ring; none: it does.
    pub held: Option<Hold>,
    /// Prompts that were held back and that the user's phones should now get a notice of.
    pub notice: Option<Held>,
}

/// A rule that holds prompts back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// By which configuration key an operator changes it: [`Why::setting`].
    pub why: Why,
    /// When it lets the next one pass, if nothing happens before then.
    pub until: UnixMillis,
}

/// Prompts that were held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How many since the last notice.
    pub count: u32,
    /// When the first of them was.
    pub since: UnixMillis,
}

/// Why a ceremony does not ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The person said "not me" a while ago.
    Muted,
    /// The person declined this initiator's prompt a moment ago.
    Quiet,
    /// Too many wrong codes of the user's phones; only in records of earlier versions.
    CodesSpent,
    /// As many prompts as an hour may have.
    Hour,
    /// Too soon after prompts that led to nothing.
    Wait,
    /// As many ceremonies at a time as a lane may have.
    Live,
    /// One that knew more of the user took its place; only in records of earlier versions.
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
            Self::Hour => Some("prompts.per_hour"),
            Self::Wait => Some("prompts.waits_s"),
            Self::Live => Some("prompts.live"),
            Self::CodesSpent | Self::Displaced => None,
        }
    }
}

/// What is known of one user's attention.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPromptState {
    live: Vec<Live>,
    /// Of prompts behind which there was only a username.
    #[serde(rename = "plain")]
    strangers: Budget,
    /// Browsers in which the user has succeeded, each with a lane of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    browsers: Vec<Browser>,
    /// Of prompts that an initiator vouched for, each with a lane of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    clients: Vec<(ClientId, Budget)>,
    /// Initiators whose prompt was declined, and until when they are quiet.
    quiet: Vec<(ClientId, UnixMillis)>,
    /// When an initiator lifted the pauses of its own prompts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unlocks: Vec<(ClientId, UnixMillis)>,
    /// Initiators whose next prompt rings whatever strangers have used up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    passes: Vec<ClientId>,
    /// What each initiator's own prompts come to if every one reaches a phone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    own: Vec<(ClientId, UserPromptState)>,
    /// Prompts that were held back since the last notice of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held: Option<Held>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    held_noticed: Option<UnixMillis>,
    /// The last change.
    touched: Option<UnixMillis>,
}

/// A prompt that was counted, and may still be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Live {
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

/// How a ceremony ended, as far as it matters here.
#[derive(Clone, Debug)]
pub struct End {
    /// The ceremony.
    pub ceremony: CeremonyId,
    /// Its initiator.
    pub client: ClientId,
    /// The lane that it was admitted in.
    pub lane: Lane,
    /// The browser that asked.
    pub browser: Option<BrowserHash>,
    /// Whether it reached a phone as a prompt.
    pub rang: bool,
    /// The outcome.
    pub outcome: Outcome,
    /// Its reason.
    pub reason: Option<Reason>,
    /// When.
    pub at: UnixMillis,
}

impl UserPromptState {
    /// Decides whether a ceremony rings, and counts it if so. The same ceremony again is decided as
    /// before and counted once.
    pub fn admit(&mut self, policy: &Policy, now: UnixMillis, ask: &Ask) -> Admission {
        self.admit_own(policy, now, ask);
        self.decide(policy, now, ask)
    }

    fn decide(&mut self, policy: &Policy, now: UnixMillis, ask: &Ask) -> Admission {
        self.forget_what_is_over(policy, now);
        if let Some(live) = self.live.iter().find(|live| live.ceremony == ask.ceremony) {
            return Admission { lane: live.lane.clone(), held: None, notice: None };
        }
        let lane = self.lane_of(ask);
        self.touched = Some(now);
        let held = self.hold(policy, now, &lane, Some(ask.client));
        let pass = self.passes.iter().position(|client| *client == ask.client);
        if held.is_some_and(|hold| !self.may_pass(&lane, ask.client, hold)) {
            return Admission { lane, held, notice: self.note_held(now) };
        }
        if held.is_some()
            && let Some(pass) = pass
        {
            self.passes.swap_remove(pass);
        }
        let before = self.budget_mut(&lane).count(now);
        let (ceremony, until) = (ask.ceremony, ask.until);
        self.live.push(Live { ceremony, lane: lane.clone(), until, at: Some(now), before });
        Admission { lane, held: None, notice: None }
    }

    fn lane_of(&self, ask: &Ask) -> Lane {
        let known = |hash: &&BrowserHash| self.browsers.iter().any(|known| known.hash == **hash);
        match (ask.browser.as_ref().filter(known), ask.prior_auth) {
            (Some(hash), _) => Lane::Known(hash.clone()),
            (None, PriorAuth::Password | PriorAuth::Session) => Lane::Vouched(ask.client),
            (None, PriorAuth::None) => Lane::Stranger,
        }
    }

    /// The rule that would hold back a prompt of this lane now, and of this initiator if one is
    /// given.
    #[must_use]
    pub fn hold(
        &self,
        policy: &Policy,
        now: UnixMillis,
        lane: &Lane,
        client: Option<ClientId>,
    ) -> Option<Hold> {
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
            (Why::Muted, budget.muted_until),
            (Why::Quiet, quiet),
            (Why::Hour, nth_end(budget.ends_within_the_hour(), policy.per_hour(lane))),
            (Why::Wait, budget.last.map(|last| last.plus_millis(pause_ms))),
            (Why::Live, live()),
        ];
        let holds = |(why, until): (Why, Option<UnixMillis>)| {
            until.filter(|until| now < *until).map(|until| Hold { why, until })
        };
        rules.into_iter().find_map(holds)
    }

    fn note_held(&mut self, now: UnixMillis) -> Option<Held> {
        let held = self.held.get_or_insert(Held { count: 0, since: now });
        held.count = held.count.saturating_add(1);
        if self.held_noticed.is_some_and(|at| now < at.plus_millis(HOUR_MS)) {
            return None;
        }
        self.held_noticed = Some(now);
        self.held.take()
    }

    /// A ceremony has ended. Giving the same end again changes nothing.
    pub fn ended(&mut self, policy: &Policy, end: &End) {
        self.ended_own(policy, end);
        self.settle(policy, end);
    }

    fn settle(&mut self, policy: &Policy, end: &End) {
        let live = self.live.iter().position(|live| live.ceremony == end.ceremony);
        if let Some(live) = live.map(|at| self.live.swap_remove(at))
            // A cancellation gives nothing back, whatever is known of the phone by then: it would
            // ring for free.
            && end.outcome == Outcome::Expired
            && !end.rang
            && let Some(at) = live.at
        {
            self.budget_mut(&live.lane).take_back(at, live.before);
        }
        match (end.outcome, end.reason) {
            (Outcome::Succeeded, _) => {
                // What a code alone found was not counted, and frees nothing: else an attacker
                // could ring thrice more for each sign-in of the person.
                if end.rang {
                    self.budget_mut(&end.lane).clear();
                }
                if let Some(hash) = &end.browser {
                    self.know(hash, end.at);
                }
            }
            (Outcome::Denied, Some(Reason::NotMe)) => {
                self.mute_strangers(policy, end.at);
                // Of the others only the initiator whose word this was.
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
        // By nothing else: how long the record is kept must not tell whether a phone was reached.
        self.touched = self.touched.max(Some(end.at));
    }

    /// The person said "not me" to prompts that were held back.
    pub fn mute_strangers(&mut self, policy: &Policy, at: UnixMillis) {
        self.strangers.mute(at.plus_millis(policy.not_me_mute_ms));
        self.touched = self.touched.max(Some(at));
    }

    /// Whether the person said "not me" a short while ago.
    #[must_use]
    pub fn is_after_not_me(&self, now: UnixMillis) -> bool {
        self.strangers.muted_until.is_some_and(|until| now < until)
    }

    /// Lifts every pause, "not me" included, on the operator's word.
    pub fn unlock_all(&mut self, now: UnixMillis) {
        self.strangers = Budget::default();
        self.clients.clear();
        self.browsers.iter_mut().for_each(|browser| browser.budget = Budget::default());
        self.quiet.clear();
        self.own.clear();
        self.touched = Some(now);
    }

    /// The lanes that have a budget of their own now.
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

    /// When nothing of the record matters any more.
    #[must_use]
    pub fn dies_at(&self) -> Option<UnixMillis> {
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

    /// A browser that is known no longer is a stranger.
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

    /// Drops what no longer matters. Nodes' clocks differ and may be set back: no pause becomes
    /// longer by that than it is.
    fn forget_what_is_over(&mut self, policy: &Policy, now: UnixMillis) {
        // Its end may come a little late, and then takes the count back.
        self.live.retain(|live| now < live.until.plus_millis(HOUR_MS));
        let latest = now.plus_millis(policy.declined_quiet_ms);
        self.quiet.iter_mut().for_each(|(_, until)| *until = latest.min(*until));
        self.quiet.retain(|(_, until)| now < *until);
        self.unlocks.iter_mut().for_each(|(_, at)| *at = now.min(*at));
        self.unlocks.retain(|(_, at)| now < at.plus_millis(DAY_MS));
        self.browsers.iter_mut().for_each(|known| known.succeeded = now.min(known.succeeded));
        self.browsers.retain(|known| now < known.succeeded.plus_millis(BROWSER_KNOWN_MS));
        self.held_noticed = self.held_noticed.map(|at| now.min(at));
        let latest = now.plus_millis(policy.not_me_mute_ms);
        self.strangers.forget_what_is_over(now, latest);
        self.browsers.iter_mut().for_each(|known| known.budget.forget_what_is_over(now, latest));
        self.clients.iter_mut().for_each(|(_, budget)| budget.forget_what_is_over(now, latest));
        self.clients.retain(|(_, budget)| budget.is_in_use(now));
        self.forget_own(now);
    }
}

/// When fewer than `limit` of these are left.
fn nth_end(ends: impl Iterator<Item = UnixMillis>, limit: usize) -> Option<UnixMillis> {
    let mut ends: Vec<_> = ends.collect();
    ends.sort_unstable();
    ends.get(ends.len().checked_sub(limit)?).copied()
}

#[cfg(test)]
mod tests;
