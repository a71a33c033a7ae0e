//! Each user's [`UserPromptState`], committed together with the ceremony whose opening or end changes
//! it, so that neither is stored without the other. The rules are [`crate::core::prompt_limits`]'s;
//! here is only when they are applied.
//!
//! Without the store nothing is admitted and no code is looked at: both fail closed.

use fido_relay_proto::{Outcome, UnixMillis};

use super::{Ceremonies, DeviceIdentity, user_of};
use crate::app::devices::{self, UserKey};
use crate::app::{RACES, users};
use crate::core::ceremony::{Ceremony, Fact, FactKind, Request};
use crate::core::prompt_limits::{
    EndedPrompt, PromptDecision, PromptRequest, SuppressedPrompts, Suppression, UserPromptState,
};
use crate::ports::{Batch, Notice, SecurityEvent, SecurityEventKind, StoreError};

/// What a fact changes in the user's prompt state, if anything. A suppressed ceremony was not counted,
/// so only the person's own answer to it matters. One that rang and expires needs no record: its count
/// lapses with time.
fn end_of(ceremony: &Ceremony, fact: &Fact) -> Option<EndedPrompt> {
    let FactKind::Closed { outcome, reason } = fact.kind else { return None };
    let (request, rang) = (&ceremony.request, !ceremony.suppressed && ceremony.rang());
    let counts = match outcome {
        Outcome::Succeeded | Outcome::Denied => true,
        Outcome::Expired => !ceremony.suppressed && !rang,
        Outcome::Rejected | Outcome::Failed | Outcome::Cancelled | Outcome::Indeterminate => {
            !ceremony.suppressed
        }
    };
    counts.then(|| EndedPrompt {
        ceremony: request.id,
        client: request.client_id,
        lane: request.lane.clone(),
        browser: request.browser.clone(),
        rang,
        outcome,
        reason,
        at: fact.at,
    })
}

impl Ceremonies {
    /// Decides whether a ceremony that is about to be stored rings, and adds the user's prompt state
    /// to the batch that stores it.
    pub(super) async fn admit(
        &self,
        batch: Batch,
        request: &Request,
    ) -> Result<(Batch, PromptDecision), StoreError> {
        let ask = PromptRequest {
            ceremony: request.id,
            client: request.client_id,
            prior_auth: request.prior_auth,
            browser: request.browser.clone(),
            until: request.deadline,
        };
        let (now, policy) = (self.dependencies().clock.now(), &self.state.policy);
        self.with_prompt_state(batch, &user_of(request), |prompt_state| {
            prompt_state.admit(policy, now, &ask)
        })
        .await
    }

    /// Tells the user's devices of prompts that were held back. In a task of its own, so that response
    /// time does not reveal it to the initiator.
    pub(super) fn publish_held_prompts(&self, request: &Request, held: SuppressedPrompts) {
        let ceremonies = self.clone();
        let (tenant, username) = (request.tenant.clone(), request.username.clone());
        self.dependencies().tasks.spawn_untraced(async move {
            let now = ceremonies.dependencies().clock.now();
            let store = ceremonies.store();
            match devices::notify_suppressed(store, &tenant, &username, held, now).await {
                Ok(true) => {
                    let notice = Notice::News(tenant, username);
                    ceremonies.dependencies().bus.publish(notice).await;
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(
                    %error,
                    "devices could not be notified of suppressed prompts"
                ),
            }
        });
    }

    /// Logs why a ceremony does not ring, and for how long others of its kind will not.
    pub(super) fn log_suppressed(&self, request: &Request, suppression: Suppression) {
        let for_s = suppression.until.millis_since(self.dependencies().clock.now()).div_ceil(1000);
        tracing::info!(ceremony = %request.id, client = %request.client_id, rule = suppression.reason.as_str(),
            setting = suppression.reason.setting(), for_s, "does not ring");
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
        let policy = &self.state.policy;
        let (batch, ()) = self
            .with_prompt_state(batch, &user_of(&ceremony.request), |prompt_state| {
                prompt_state.ended(policy, &end)
            })
            .await?;
        Ok(batch)
    }

    /// The person said "not me" to prompts that were held back: strangers' prompts do not ring for a
    /// while, and a security event says so.
    pub(crate) async fn mute_strangers(&self, by: &DeviceIdentity) -> Result<(), StoreError> {
        let (now, policy) = (self.dependencies().clock.now(), &self.state.policy);
        let user = by.user();
        let (device_id, username) = (by.device, by.username.clone());
        let what = SecurityEventKind::NotMeHeld { device_id, username };
        let entry = SecurityEvent::new(by.tenant.clone(), now, what).entry();
        let _turn = self.state.prompt_states.take(user.as_str()).await;
        // "Not me" again within a minute changes nothing.
        let later = now.plus_millis(policy.not_me_mute_ms.saturating_sub(60_000));
        if self.is_after_not_me_at(&user, later).await? {
            return Ok(());
        }
        for _ in 0..RACES {
            let mute =
                |prompt_state: &mut UserPromptState| prompt_state.mute_strangers(policy, now);
            let (batch, ()) = self.with_prompt_state(Batch::new(), &user, mute).await?;
            match self.commit_noted(batch.entry(entry.clone())).await {
                Ok(_) => {
                    tracing::warn!(device = %by.device, "\"not me\" to suppressed prompts");
                    return Ok(());
                }
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::too_many_races())
    }

    /// Whether the person said "not me" a short while ago.
    pub(super) async fn is_after_not_me(&self, user: &UserKey) -> Result<bool, StoreError> {
        self.is_after_not_me_at(user, self.dependencies().clock.now()).await
    }

    async fn is_after_not_me_at(&self, user: &UserKey, at: UnixMillis) -> Result<bool, StoreError> {
        let (prompt_state, _) = users::prompt_state(self.store(), user).await?;
        Ok(prompt_state.is_after_not_me(at))
    }

    /// Adds the user's changed prompt state to a batch.
    async fn with_prompt_state<R>(
        &self,
        batch: Batch,
        user: &UserKey,
        change: impl FnOnce(&mut UserPromptState) -> R,
    ) -> Result<(Batch, R), StoreError> {
        let (mut prompt_state, revision) = users::prompt_state(self.store(), user).await?;
        let done = change(&mut prompt_state);
        Ok((users::put_prompt_state(batch, user, revision, &prompt_state)?, done))
    }
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::{DeviceId, Reason};

    use super::*;
    use crate::core::ceremony::with_every_kind;

    #[test]
    fn an_end_that_time_does_not_bring_by_itself_changes_the_prompt_state() {
        let mut ceremony = with_every_kind();
        let ends = |ceremony: &Ceremony| -> Vec<_> {
            let end = |fact| end_of(ceremony, fact).map(|end| (end.outcome, end.reason, end.at));
            ceremony.history.iter().filter_map(end).collect()
        };
        let denied = (Outcome::Denied, Some(Reason::NotMe), UnixMillis(1_012_000));
        assert!(ceremony.suppressed, "a \"no\" is heard also of what was suppressed");
        assert_eq!(ends(&ceremony), [denied]);
        let last = ceremony.history.len() - 1;
        for (suppressed, outcome, reason, counts) in [
            (false, Outcome::Denied, Some(Reason::Declined), true),
            (false, Outcome::Succeeded, None, true),
            (false, Outcome::Failed, Some(Reason::WrongCode), true),
            (false, Outcome::Cancelled, None, true),
            (false, Outcome::Expired, Some(Reason::Deadline), false),
            (false, Outcome::Expired, Some(Reason::SessionExpired), false),
            (true, Outcome::Succeeded, None, true),
            (true, Outcome::Cancelled, None, false),
            (true, Outcome::Expired, Some(Reason::Deadline), false),
        ] {
            ceremony.suppressed = suppressed;
            let device = Some(DeviceId::from_bytes([1; 16]));
            ceremony.history[last].device = device;
            ceremony.history[last].kind = FactKind::Closed { outcome, reason };
            assert_eq!(ends(&ceremony).len(), usize::from(counts), "{suppressed} {outcome:?}");
        }
        ceremony.suppressed = false;
        ceremony.history.retain(|fact| {
            !matches!(fact.kind, FactKind::Sent | FactKind::Woken | FactKind::Delivered)
        });
        let end = ends(&ceremony);
        assert_eq!(end.len(), 1, "one that expires and reached no phone is counted no longer");
    }
}
