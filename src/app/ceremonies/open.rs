//! Opening: the ceremony is stored before any device hears of it, and the same idempotency key opens
//! the same ceremony.

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::{AttemptId, WireName};

use super::copies::CeremonyCopy;
use super::idempotency::IdempotencyKey;
use super::slots::SlotGuard;
use super::{
    AdvanceError, Ceremonies, CeremonyKey, CeremonySnapshot, OpenLimitReached, OpenRequest, user_of,
};
use crate::app::RACES;
use crate::core::ceremony::{Ceremony, Event};
use crate::core::prompt_limits::PromptDecision;
use crate::fault_point::{self, Point};
use crate::ports::{Batch, Revision, StoreError};
use crate::security::random;

/// From an opening's commit until devices are shown it. More than the 201 takes to leave, and not
/// noticeable to a person: without it, response time reveals whether a device is connected (0.4 ms
/// on two cores).
pub(crate) const DELIVERY_DELAY: Duration = Duration::from_millis(5);

/// From an eviction that was not stored to the next try.
const EVICTION_PAUSE: Duration = Duration::from_secs(1);

/// Why nothing was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The idempotency key was used with another body.
    #[error("the idempotency key was used with another body")]
    Mismatch,
    /// Too many ceremonies are open already.
    #[error(transparent)]
    Full(#[from] OpenLimitReached),
    /// It could not be stored.
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

impl Ceremonies {
    /// Opens a ceremony, or finds the one that the same idempotency key opened before. When this
    /// returns, the ceremony is stored durably.
    ///
    /// # Errors
    /// [`OpenError`]; then nothing is open.
    pub async fn open(&self, order: OpenRequest) -> Result<CeremonySnapshot, OpenError> {
        let ceremonies = self.clone();
        // A caller that hangs up leaves nothing half done.
        let tasks = &self.dependencies().tasks;
        let opened = tasks.run_detached(async move { ceremonies.open_once(order).await }).await;
        let ceremony = opened.unwrap_or_else(|| {
            Err(StoreError::Unavailable("a task ended early".to_owned()).into())
        })?;
        fault_point::passing(Point::Answered);
        Ok(CeremonySnapshot::from(&*ceremony))
    }

    async fn open_once(&self, order: OpenRequest) -> Result<Arc<Ceremony>, OpenError> {
        fault_point::reached(Point::Received);
        self.must_be_recordable()?;
        let OpenRequest { mut request, idempotency } = order;
        let user = user_of(&request);
        let turn = self.state.prompt_states.take(user.as_str()).await;
        for _ in 0..RACES {
            let mut batch = Batch::new();
            if let Some((key, body)) = &idempotency {
                match self.idempotency(&request, key, *body).await? {
                    IdempotencyKey::New(remember) => batch = remember,
                    IdempotencyKey::OfAnotherBody => return Err(OpenError::Mismatch),
                    IdempotencyKey::Known(id) => {
                        request.id = id;
                        if let Some(ceremony) = self.load(&CeremonyKey::from(&request)).await? {
                            return Ok(ceremony);
                        }
                    }
                }
            }
            let (batch, admission) = self.admit(batch, &request).await?;
            let slot = SlotGuard::admit(
                &self.state.slots,
                &request,
                &admission.lane,
                self.state.open_limits,
            )?;
            let attempt = AttemptId::from_bytes(random::bytes());
            let code = self.state.open.draw_code(&user);
            request.lane.clone_from(&admission.lane);
            let suppressed = admission.suppression.map(|suppression| suppression.reason);
            let ceremony = Ceremony::open(request.clone(), code, attempt, suppressed);
            let (key, facts) = (CeremonyKey::from(&ceremony), &ceremony.history);
            let before = self.state.copies.ends_before(&key);
            match self.commit(batch, Revision::ABSENT, &ceremony, facts).await {
                Ok(revision) => {
                    if let Some(evicted) = slot.keep() {
                        self.evict(evicted.key);
                    }
                    let ceremony = Arc::new(ceremony);
                    // The next code of this user is drawn beside this one.
                    self.remember(&ceremony);
                    // What follows must not hold up others.
                    drop(turn);
                    let copy = CeremonyCopy::new(Arc::clone(&ceremony), revision);
                    self.state.copies.opened(&key, copy, before);
                    self.follow_opening(&ceremony, &admission);
                    return Ok(ceremony);
                }
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::too_many_races().into())
    }

    /// What follows the commit of an opening.
    fn follow_opening(&self, ceremony: &Arc<Ceremony>, admission: &PromptDecision) {
        fault_point::reached(Point::Stored);
        tracing::info!(
            ceremony = %ceremony.request.id,
            client = %ceremony.request.client_id,
            ceremony_type = %WireName(ceremony.request.ceremony_type),
            "ceremony opened",
        );
        if let Some(suppression) = admission.suppression {
            self.log_suppressed(&ceremony.request, suppression);
        }
        if let Some(held) = admission.notice {
            self.publish_held_prompts(&ceremony.request, held);
        }
        if let Some(effect) = ceremony.pending_effect() {
            self.perform(ceremony, effect);
        }
        self.deliver_later(Arc::clone(ceremony));
    }

    /// Devices are notified after the 201 was sent, so that response time does not reveal whether
    /// one is connected.
    fn deliver_later(&self, ceremony: Arc<Ceremony>) {
        let ceremonies = self.clone();
        self.dependencies().tasks.spawn_untraced(async move {
            tokio::time::sleep(DELIVERY_DELAY).await;
            ceremonies.publish(&ceremony.request).await;
            ceremonies.dependencies().observer.may_ring(&CeremonyKey::from(&*ceremony));
        });
    }

    /// Ends a ceremony whose slot another has taken.
    fn evict(&self, key: CeremonyKey) {
        let ceremonies = self.clone();
        self.dependencies().tasks.spawn_untraced(async move {
            let stopping = ceremonies.dependencies().tasks.stopping();
            loop {
                match ceremonies.advance_here(&key, Event::Drop).await {
                    Ok(_) => {
                        return tracing::info!(
                            ceremony = %key.id,
                            "ceremony dropped: the limit of open ceremonies is reached"
                        );
                    }
                    Err(AdvanceError::NotFound) => return ceremonies.state.slots.release(key.id),
                    Err(error) => tracing::warn!(
                        ceremony = %key.id, %error,
                        "a ceremony could not be dropped, trying again"
                    ),
                }
                let pause = tokio::time::sleep(EVICTION_PAUSE);
                if stopping.run_until_cancelled(pause).await.is_none() {
                    return;
                }
            }
        });
    }
}
