//! Each user's [`Standing`] in the store: committed together with the ceremony whose opening or end
//! changes it, so that neither stands without the other. The rules are [`crate::fatigue`]'s; here
//! is only where they are kept and when they are asked.
//!
//! Without the store nothing is admitted and no code is looked at: both fail closed.

use fido_relay_proto::{Binding, Outcome, UnixMillis};
use tokio::sync::{Mutex, MutexGuard};

use super::Relay;
use super::devices::UserKey;
use crate::ceremony::{Ceremony, Request};
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
    /// the end. Time does by itself what an expiry would.
    pub(super) async fn count_end(
        &self,
        batch: Batch,
        ceremony: &Ceremony,
    ) -> Result<Batch, StoreError> {
        let request = &ceremony.request;
        let Some(closed) = ceremony.closed() else { return Ok(batch) };
        let end = End {
            ceremony: request.id,
            client: request.client_id,
            prior_auth: request.prior_auth,
            outcome: closed.outcome,
            reason: closed.reason,
            at: closed.at,
        };
        let counts = !ceremony.silent || end.is_a_word_of_the_person();
        if closed.outcome == Outcome::Expired || !counts {
            return Ok(batch);
        }
        let policy = &self.node.policy;
        let (batch, ()) = self
            .with_standing(batch, &user(request), |standing| standing.ended(policy, &end))
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
        let event =
            SecurityEvent { tenant: request.tenant.clone(), at: self.world().clock.now(), what };
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
