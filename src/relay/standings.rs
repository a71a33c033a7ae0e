//! Each user's [`Standing`] in the store: committed together with the ceremony whose opening or end
//! changes it, so that neither stands without the other. The rules are [`crate::fatigue`]'s; here
//! is only where they are kept and when they are asked.
//!
//! Without the store nothing is admitted and no code is looked at: both fail closed.

use fido_relay_proto::{Binding, Outcome, UnixMillis};
use tokio::sync::{Mutex, MutexGuard};

use super::Relay;
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

/// Users whose names fall together take turns too; more would only cost memory.
const TURNS: usize = 64;

/// One after the other for each user: many at once for one user would otherwise spend their time
/// on lost races, and that user's own ceremony with them.
#[derive(Debug)]
pub(super) struct Turns([Mutex<()>; TURNS]);

impl Default for Turns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl Turns {
    /// Waits for this user's turn; it lasts as long as what is given.
    pub(super) async fn take(&self, user: &UserKey) -> MutexGuard<'_, ()> {
        let hash = |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte));
        let sum = user.as_str().bytes().fold(0, hash);
        self.0[sum % TURNS].lock().await
    }
}

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

    /// Logs and records why a ceremony does not ring, and for how long others of its kind will not.
    pub(super) async fn note_silent(
        &self,
        request: &Request,
        why: Why,
        passes_at: Option<UnixMillis>,
    ) {
        let now = self.world().clock.now();
        let for_s = passes_at.map(|at| at.millis_since(now).div_ceil(1000));
        tracing::info!(ceremony = %request.id, client = %request.client_id, rule = why.as_str(),
            setting = why.setting(), for_s, "does not ring");
        let what = Happening::Silenced {
            ceremony_id: request.id,
            client_id: request.client_id,
            username: request.username.clone(),
            why,
        };
        self.note(request, what).await;
    }

    /// Adds what the end of a ceremony means for the user's prompt state to the batch that stores
    /// the end.
    pub(super) async fn count_end(
        &self,
        batch: Batch,
        ceremony: &Ceremony,
    ) -> Result<Batch, StoreError> {
        let end = ceremony.history.last().and_then(|fact| end_of(ceremony, fact));
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

    /// Counts a wrong code; `false`: there was no try left.
    pub(super) async fn spend_try(&self, user: &UserKey) -> Result<bool, StoreError> {
        let now = self.world().clock.now();
        let store = &*self.world().store;
        let _turn = self.node.standings.take(user).await;
        let spend = |standing: &mut Standing| {
            Ok::<bool, std::convert::Infallible>(standing.spend_try(&self.node.policy, now))
        };
        let Ok(spent) = records::update(store, Bucket::Standings, user.as_str(), spend).await?;
        Ok(spent)
    }

    pub(super) async fn note(&self, request: &Request, what: Happening) {
        let event = SecurityEvent::new(request.tenant.clone(), self.world().clock.now(), what);
        self.world().witnesses.noted(&event).await;
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
