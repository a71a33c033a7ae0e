//! Each user's [`Standing`] in the store: committed together with the ceremony whose opening or end
//! changes it, so that neither stands without the other. The rules are [`crate::fatigue`]'s; here
//! is only where they are kept and when they are asked.
//!
//! Without the store nothing is admitted and no code is looked at: both fail closed.

use fido_relay_proto::{Binding, Outcome, UnixMillis};

use super::Relay;
use super::connection::Owner;
use crate::app::devices::UserKey;
use crate::ceremony::{Ceremony, Fact, Kind, Request};
use crate::fatigue::{Admission, Ask, End, Standing, Why};
use crate::ports::{
    Batch, Bucket, Due, DueRule, Happening, Record, Revision, SecurityEvent, StoreError, records,
};

/// A record dies a day after its last change: nothing in it looks further back.
pub(super) const STANDINGS: DueRule =
    DueRule { bucket: Bucket::Standings, due: records::due_of::<Standing> };

impl Record for Standing {
    fn due(&self) -> Option<Due> {
        self.dies_at().map(Due::removal)
    }
}

/// How often a try is counted anew because another write came first.
const RACES: usize = 64;

pub(super) fn user(request: &Request) -> UserKey {
    UserKey::new(&request.tenant, &request.username)
}

/// What a fact changes in the user's prompt state, if anything. A suppressed ceremony counts as
/// none, but for the person's own "no"; and time does by itself what an expiry would.
pub(super) fn end_of(ceremony: &Ceremony, fact: &Fact) -> Option<End> {
    let (outcome, reason) = match fact.kind {
        Kind::Closed { outcome, reason } => (outcome, reason),
        Kind::Opened
        | Kind::Sent
        | Kind::Delivered
        | Kind::WrongCode { .. }
        | Kind::Claimed
        | Kind::Challenged { .. }
        | Kind::Card { .. }
        | Kind::Answered { .. }
        | Kind::Suppressed { .. } => return None,
    };
    let request = &ceremony.request;
    let end = End {
        ceremony: request.id,
        client: request.client_id,
        prior_auth: request.prior_auth,
        outcome,
        reason,
        at: fact.at,
    };
    let counts = !ceremony.silent || end.is_a_word_of_the_person();
    (outcome != Outcome::Expired && counts).then_some(end)
}

impl Relay {
    /// Decides whether a ceremony that is about to be stored is shown, and adds the user's prompt
    /// state to the batch that stores it. If it is not shown, also when the same rule would let it
    /// pass.
    pub(super) async fn admit(
        &self,
        batch: Batch,
        request: &Request,
    ) -> Result<(Batch, Admission, Option<UnixMillis>), StoreError> {
        let ask = Ask {
            ceremony: request.id,
            client: request.client_id,
            prior_auth: request.prior_auth,
            needs_code: match request.binding {
                Binding::Code => true,
                Binding::None => false,
            },
            until: request.deadline,
        };
        let now = self.world().clock.now();
        let policy = &self.node.policy;
        let (batch, decided) = self
            .with_standing(batch, &user(request), |standing| {
                match standing.admit(policy, now, &ask) {
                    shown @ Admission::Shown { .. } => (shown, None),
                    silent @ Admission::Silent(why) => {
                        (silent, standing.passes_at(policy, &ask, why))
                    }
                }
            })
            .await?;
        Ok((batch, decided.0, decided.1))
    }

    /// Logs why a ceremony does not ring, and for how long others of its kind will not.
    pub(super) fn log_silent(&self, request: &Request, why: Why, passes_at: Option<UnixMillis>) {
        let now = self.world().clock.now();
        let for_s = passes_at.map(|at| at.millis_since(now).div_ceil(1000));
        tracing::info!(ceremony = %request.id, client = %request.client_id, rule = why.as_str(),
            setting = why.setting(), for_s, "does not ring");
    }

    /// Adds what the end of a ceremony means for the user's prompt state to the batch that stores
    /// the end.
    pub(super) async fn count_end(
        &self,
        batch: Batch,
        ceremony: &Ceremony,
        facts: &[Fact],
    ) -> Result<Batch, StoreError> {
        let end = facts.iter().find_map(|fact| end_of(ceremony, fact));
        let Some(end) = end else { return Ok(batch) };
        let policy = &self.node.policy;
        let (batch, ()) = self
            .with_standing(batch, &user(&ceremony.request), |standing| standing.ended(policy, &end))
            .await?;
        Ok(batch)
    }

    /// Whether codes of this user's phones are looked at.
    pub(super) async fn takes_codes(&self, user: &UserKey) -> Result<bool, StoreError> {
        let store = &*self.world().store;
        let found = records::load::<Standing>(store, Bucket::Standings, user.as_str()).await?;
        let now = self.world().clock.now();
        Ok(found.is_none_or(|(standing, _)| !standing.codes_are_spent(&self.node.policy, now)))
    }

    /// Counts a wrong code typed on this device; `false`: there was no try left.
    pub(super) async fn spend_try(&self, user: &UserKey, by: &Owner) -> Result<bool, StoreError> {
        let (now, policy) = (self.world().clock.now(), &self.node.policy);
        let _turn = self.node.standings.take(user.as_str()).await;
        for _ in 0..RACES {
            let (mut batch, (spent, is_last)) = self
                .with_standing(Batch::new(), user, |standing| {
                    let spent = standing.spend_try(policy, now);
                    (spent, spent && standing.codes_are_spent(policy, now))
                })
                .await?;
            if is_last {
                let (device_id, username) = (by.device, by.username.clone());
                let what = Happening::CodesSpent { device_id, username };
                batch = batch.entry(SecurityEvent::new(by.tenant.clone(), now, what).entry());
            }
            match self.commit_noted(batch).await {
                Ok(_) => {
                    if is_last {
                        tracing::warn!(device = %by.device, "no more codes are taken today");
                    }
                    return Ok(spent);
                }
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::too_many_races())
    }

    /// Adds the user's changed prompt state to a batch.
    async fn with_standing<R>(
        &self,
        batch: Batch,
        user: &UserKey,
        change: impl FnOnce(&mut Standing) -> R,
    ) -> Result<(Batch, R), StoreError> {
        let (store, key) = (&*self.world().store, user.as_str());
        let found = records::load::<Standing>(store, Bucket::Standings, key).await?;
        let (mut standing, revision) = found.unwrap_or((Standing::default(), Revision::ABSENT));
        let done = change(&mut standing);
        Ok((records::put(batch, Bucket::Standings, key, revision, &standing)?, done))
    }
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::{DeviceId, Reason};

    use super::*;
    use crate::ceremony::with_every_kind;

    #[test]
    fn only_an_end_other_than_an_expiry_changes_the_prompt_state() {
        let mut ceremony = with_every_kind();
        let ends = |ceremony: &Ceremony| -> Vec<_> {
            let end = |fact| end_of(ceremony, fact).map(|end| (end.outcome, end.reason, end.at));
            ceremony.history.iter().filter_map(end).collect()
        };
        let denied = (Outcome::Denied, Some(Reason::NotMe), UnixMillis(1_010_000));
        assert!(ceremony.silent, "a \"no\" is heard also of what was suppressed");
        assert_eq!(ends(&ceremony), [denied]);
        let last = ceremony.history.len() - 1;
        for (silent, outcome, reason, counts) in [
            (false, Outcome::Denied, Some(Reason::Declined), true),
            (false, Outcome::Succeeded, None, true),
            (false, Outcome::Failed, Some(Reason::WrongCode), true),
            (false, Outcome::Cancelled, None, true),
            (false, Outcome::Expired, Some(Reason::Deadline), false),
            (false, Outcome::Expired, Some(Reason::SessionExpired), false),
            (true, Outcome::Cancelled, None, false),
            (true, Outcome::Expired, Some(Reason::Deadline), false),
        ] {
            ceremony.silent = silent;
            let device = Some(DeviceId::from_bytes([1; 16]));
            ceremony.history[last].device = device;
            ceremony.history[last].kind = Kind::Closed { outcome, reason };
            assert_eq!(ends(&ceremony).len(), usize::from(counts), "{silent} {outcome:?}");
        }
    }
}
