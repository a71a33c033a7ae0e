//! The one way to change a ceremony: step, commit, and only then act. A step of a device that only
//! reports, and the right code, may wait for the ceremony's next commit.

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::AttemptId;

use super::copies::CeremonyCopy;
use super::{Ceremonies, CeremonyKey};
use crate::app::devices::with_card_notice;
use crate::core::ceremony::{Ceremony, Effect, Event, Reply, Transition};
use crate::ports::{Batch, Bucket, Notice, Revision, SecurityEvent, StoreError};

/// How often one event is stepped anew because another write came first. Every loss is another
/// event's progress, and a ceremony takes few steps in its life.
const RACES: usize = 256;

/// How long a step may wait for the ceremony's next commit: what a crash loses at most.
const PENDING: Duration = Duration::from_millis(50);

/// From a commit of pending steps that the store refused to the next.
const PENDING_AGAIN: Duration = Duration::from_secs(1);

/// What came of an event.
#[derive(Debug)]
pub struct Advanced {
    pub reply: Reply,
    /// The ceremony after the event.
    pub ceremony: Arc<Ceremony>,
    /// Whether the event changed it.
    pub changed: bool,
}

/// Why an event did not count.
#[derive(Debug, thiserror::Error)]
pub enum AdvanceError {
    /// The store has no such ceremony.
    #[error("no such ceremony")]
    NotFound,
    /// It could not be stored, and nothing has happened.
    #[error("{0}")]
    Unavailable(String),
}

impl From<StoreError> for AdvanceError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// What a FIDO2 server that judges locally said of an answer.
struct LocalVerdict {
    completed: Event,
    reply: Reply,
    /// Whether the user's devices hear of a card.
    has_card_notice: bool,
}

impl Ceremonies {
    /// Advances one ceremony by one event, and stores it. This runs in a task of its own: a caller
    /// that goes away, and takes its future with it, leaves nothing half done.
    ///
    /// # Errors
    /// [`AdvanceError`].
    pub async fn advance(&self, key: &CeremonyKey, event: Event) -> Result<Advanced, AdvanceError> {
        self.may_approve(&event)?;
        let (ceremonies, key) = (self.clone(), key.clone());
        let tasks = &self.dependencies().tasks;
        tasks
            .run_detached(async move { ceremonies.commit_event(&key, Some(&event)).await })
            .await
            .unwrap_or_else(|| Err(AdvanceError::Unavailable("a task ended early".to_owned())))
    }

    /// [`Ceremonies::advance`] for what a device did: a step that [`can_wait`] is stored a moment
    /// later, and needs no task of its own: before it is noted nothing has happened, and then all is
    /// done.
    pub(crate) async fn advance_soon(
        &self,
        key: &CeremonyKey,
        event: Event,
    ) -> Result<Advanced, AdvanceError> {
        let is_report = matches!(
            event,
            Event::Sent { .. }
                | Event::Lost { .. }
                | Event::Woken { .. }
                | Event::Previewed { .. }
                | Event::Acked { .. }
                | Event::Card { .. }
                | Event::Claim { .. }
        );
        if is_report && let Some(advanced) = self.keep_pending(key, &event).await? {
            return Ok(advanced);
        }
        self.advance(key, event).await
    }

    /// [`Ceremonies::advance`] for a caller that runs in a task of its own already.
    pub(super) async fn advance_here(
        &self,
        key: &CeremonyKey,
        event: Event,
    ) -> Result<Advanced, AdvanceError> {
        self.commit_event(key, Some(&event)).await
    }

    /// Refuses what leads to an approval while it could not be recorded.
    fn may_approve(&self, event: &Event) -> Result<(), AdvanceError> {
        if matches!(event, Event::Claim { .. } | Event::Answer { .. }) {
            self.must_be_recordable()?;
        }
        Ok(())
    }

    /// The newest that this node knows, for the holder of the ceremony's turn.
    async fn copy_or_read(&self, key: &CeremonyKey) -> Result<CeremonyCopy, AdvanceError> {
        match self.copy(key) {
            Some(copy) => Ok(copy),
            None => self.read(key).await?.ok_or(AdvanceError::NotFound),
        }
    }

    /// Takes an event whose step can wait for the ceremony's next commit; none: it cannot.
    async fn keep_pending(
        &self,
        key: &CeremonyKey,
        event: &Event,
    ) -> Result<Option<Advanced>, AdvanceError> {
        self.may_approve(event)?;
        let dependencies = self.dependencies();
        let _turn = self.state.advances.take(&key.to_string()).await;
        for _ in 0..RACES {
            let mut copy = self.copy_or_read(key).await?;
            let had_pending = copy.has_pending();
            let transition = copy.step(dependencies.clock.now(), event.clone());
            if !can_wait(event, &transition, copy.latest()) {
                return Ok(None);
            }
            let Transition { reply, facts, effect } = transition;
            let changed = !facts.is_empty();
            if changed && !self.state.copies.keep(key, &copy) {
                continue;
            }
            if changed && !had_pending {
                self.commit_soon(key.clone());
            }
            let ceremony = Arc::clone(copy.latest());
            if let Some(effect) = effect {
                self.perform(&ceremony, effect);
            }
            dependencies.counts.answered(event, reply);
            return Ok(Some(Advanced { reply, ceremony, changed }));
        }
        Err(StoreError::too_many_races().into())
    }

    /// Advances the ceremony by an event, and stores it with its pending steps; without an event,
    /// stores these.
    async fn commit_event(
        &self,
        key: &CeremonyKey,
        event: Option<&Event>,
    ) -> Result<Advanced, AdvanceError> {
        let dependencies = self.dependencies();
        let _turn = self.state.advances.take(&key.to_string()).await;
        let mut known = self.copy(key);
        for _ in 0..RACES {
            let is_copy = known.is_some();
            let mut copy = match known.take() {
                Some(copy) => copy,
                None => self.read(key).await?.ok_or(AdvanceError::NotFound)?,
            };
            let Transition { reply, facts, mut effect } = match event {
                Some(event) => copy.step(dependencies.clock.now(), event.clone()),
                None => Transition { reply: Reply::Ignored, facts: Vec::new(), effect: None },
            };
            let changed = !facts.is_empty();
            let (mut records, mut verdict) = (Batch::new(), None);
            if let Some(Effect::Complete { attempt }) = effect
                && dependencies.fido.judges_locally()
            {
                let judged = self.judge_locally(key, &mut copy, attempt).await?;
                (records, verdict, effect) = (judged.0, Some(judged.1), None);
            }
            let ceremony = Arc::clone(copy.latest());
            if copy.has_pending() {
                match self.commit(records, copy.revision, &ceremony, copy.facts()).await {
                    Ok(revision) => {
                        let copy = CeremonyCopy::new(Arc::clone(&ceremony), revision);
                        let is_exact = dependencies.store.is_exclusive();
                        self.state.copies.committed(key, copy, is_exact);
                    }
                    Err(StoreError::Conflict(record)) => {
                        if record.bucket != Bucket::Ceremonies {
                            known = self.copy(key);
                        }
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
                self.announce(&ceremony).await;
                if verdict.as_ref().is_some_and(|verdict| verdict.has_card_notice) {
                    let request = &ceremony.request;
                    let notice = Notice::News(request.tenant.clone(), request.username.clone());
                    dependencies.bus.publish(notice).await;
                }
            } else {
                // No commit shows that the copy was not old.
                if is_copy && event.is_some() && !dependencies.store.is_exclusive() {
                    continue;
                }
                if let Some(Event::Recover { .. }) = event
                    && ceremony.closed().is_none()
                {
                    if !self.is_current(key, copy.revision).await? {
                        continue;
                    }
                    if self.state.slots.count(&ceremony) {
                        dependencies.counts.taken_up();
                    }
                }
            }
            if let Some(effect) = effect {
                self.perform(&ceremony, effect);
            }
            if let Some(event) = event {
                dependencies.counts.answered(event, reply);
            }
            if let Some(LocalVerdict { completed, reply, .. }) = verdict {
                dependencies.counts.answered(&completed, reply);
            }
            return Ok(Advanced { reply, ceremony, changed });
        }
        Err(StoreError::too_many_races().into())
    }

    /// Asks a FIDO2 server that judges locally, and steps the copy by what it says. Gives also the
    /// records that are to be committed with it.
    async fn judge_locally(
        &self,
        key: &CeremonyKey,
        copy: &mut CeremonyCopy,
        attempt: AttemptId,
    ) -> Result<(Batch, LocalVerdict), AdvanceError> {
        let clock = &self.dependencies().clock;
        let completion = self.judge(copy.latest()).await;
        let (mut records, has_card_notice) = (completion.records, completion.event.is_some());
        if let Some(what) = completion.event {
            let event = SecurityEvent::new(key.tenant.clone(), clock.now(), what);
            records = with_card_notice(self.store(), records.entry(event.entry()), &event).await?;
        }
        let completed = Event::Completed { attempt, verdict: completion.verdict };
        let reply = copy.step(clock.now(), completed.clone()).reply;
        Ok((records, LocalVerdict { completed, reply, has_card_notice }))
    }

    /// Whether the record is still at this revision. Only a commit knows where others write too.
    async fn is_current(&self, key: &CeremonyKey, at: Revision) -> Result<bool, StoreError> {
        if self.store().is_exclusive() {
            return Ok(true);
        }
        let check = Batch::new().check(Bucket::Ceremonies, &key.to_string(), at);
        match self.store().commit(check).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Commits the pending steps of a ceremony, unless another commit does it before.
    fn commit_soon(&self, key: CeremonyKey) {
        let ceremonies = self.clone();
        self.dependencies().tasks.spawn_untraced(async move {
            let stopping = ceremonies.dependencies().tasks.stopping().clone();
            let mut pause = PENDING;
            loop {
                let waited = stopping.run_until_cancelled(tokio::time::sleep(pause)).await;
                if !ceremonies.state.copies.have_pending(&key) {
                    return;
                }
                match ceremonies.commit_event(&key, None).await {
                    Err(AdvanceError::Unavailable(error)) if waited.is_some() => {
                        tracing::warn!(
                            ceremony = %key.id, error,
                            "pending steps could not be stored, trying again"
                        );
                        pause = PENDING_AGAIN;
                    }
                    Ok(_) | Err(_) => return,
                }
            }
        });
    }
}

/// Whether a device's report may wait for the ceremony's next commit: it ends nothing, or it is a
/// right code. The device gets no answer to it, so a crash takes back no word; what the code leads to,
/// a challenge, is stored before a device sees it. What changes nothing because it is known already
/// needs no commit either.
fn can_wait(event: &Event, transition: &Transition, after: &Ceremony) -> bool {
    if matches!(event, Event::Claim { .. }) {
        return transition.effect.is_some();
    }
    let answers_nothing = matches!(transition.reply, Reply::Done | Reply::Ignored);
    answers_nothing && (transition.facts.is_empty() || after.closed().is_none())
}
