//! Each user's [`Standing`] in the store: asked before a ceremony is stored, told when it ends.
//! The rules are [`crate::fatigue`]'s; here is only where they are kept and when they are asked.
//!
//! Without the store nothing is admitted and no code is looked at: both fail closed. What an end
//! says is written after the ceremony's own record. A crash between the two loses no more than a
//! counter that is forgiven (the safe side), except for the person's own word, "no" or "not me":
//! that is told again when the node starts.

use fido_relay_proto::{Binding, Outcome, UnixMillis};
use tokio::sync::{Mutex, MutexGuard};

use super::Relay;
use super::devices::UserKey;
use super::sweeper::Retention;
use crate::ceremony::{Ceremony, Request};
use crate::fatigue::{Admission, Ask, End, Standing, Why};
use crate::ports::{Bucket, Happening, SecurityEvent, StoreError, records};

/// A record dies a day after its last change: nothing in it looks further back.
pub(super) const STANDINGS: Retention = Retention {
    bucket: Bucket::Standings,
    dies_at: |record| serde_json::from_slice::<Standing>(record).ok()?.dies_at(),
};

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

fn user(request: &Request) -> UserKey {
    UserKey::new(&request.tenant, &request.username)
}

impl Relay {
    /// Decides whether a ceremony that is about to be stored is shown, and counts it. If it is not,
    /// also when the same rule would let it pass.
    pub(super) async fn admit(
        &self,
        request: &Request,
    ) -> Result<(Admission, Option<UnixMillis>), StoreError> {
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
        self.change(&user(request), |standing| match standing.admit(policy, now, &ask) {
            shown @ Admission::Shown { .. } => (shown, None),
            silent @ Admission::Silent(why) => (silent, standing.passes_at(policy, &ask, why)),
        })
        .await
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

    /// Counts the end of a ceremony. Time does by itself what an expiry would.
    pub(super) async fn count_end(&self, ceremony: &Ceremony) {
        let request = &ceremony.request;
        let Some(closed) = ceremony.closed() else { return };
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
            return;
        }
        let user = user(request);
        let told = self.change(&user, |standing| standing.ended(&self.node.policy, &end)).await;
        if let Err(error) = told {
            tracing::warn!(ceremony = %request.id, %error, "an end was not counted");
        }
    }

    /// A ceremony as it was found stored: the person's word in it may not have been counted.
    pub(super) async fn count_word(&self, ceremony: &Ceremony) {
        let quiet = self.node.policy.declined_quiet_ms.max(self.node.policy.not_me_mute_ms);
        let is_recent = ceremony.closed().is_some_and(|closed| {
            closed.outcome == Outcome::Denied
                && self.world().clock.now() < closed.at.plus_millis(quiet)
        });
        if is_recent {
            self.count_end(ceremony).await;
        }
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
        self.change(user, |standing| standing.spend_try(&self.node.policy, now)).await
    }

    pub(super) async fn note(&self, request: &Request, what: Happening) {
        let event =
            SecurityEvent { tenant: request.tenant.clone(), at: self.world().clock.now(), what };
        self.world().witnesses.noted(&event).await;
    }

    async fn change<R: Send>(
        &self,
        user: &UserKey,
        mut change: impl FnMut(&mut Standing) -> R + Send,
    ) -> Result<R, StoreError> {
        let store = &*self.world().store;
        let _turn = self.node.standings.take(user).await;
        let changed =
            records::update(store, Bucket::Standings, user.as_str(), |standing: &mut Standing| {
                Ok::<R, std::convert::Infallible>(change(standing))
            });
        let Ok(done) = changed.await?;
        Ok(done)
    }
}
