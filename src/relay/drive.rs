//! The one road: step, commit, and only then act. A step of a device that only reports, and the
//! right code, may wait for the ceremony's next commit.

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::{Reason, WireName};

use super::ceremonies::{self, CeremonyKey};
use super::connection::Shown;
use super::copies::Held;
use super::user_prompts;
use super::{Dependencies, Relay};
use crate::app::devices::with_card_news;
use crate::core::ceremony::{Ceremony, Effect, Event, Fact, Kind, Reply, Request, Transition};
use crate::fault_point::{self, Point};
use crate::ports::{Ability, Batch, Bucket, Notice, Revision, SecurityEvent, StoreError};

/// How often one event is stepped anew because another write came first. Every loss is another
/// event's progress, and a ceremony takes few steps in its life.
const RACES: usize = 256;

/// How long a step may wait for the ceremony's next commit: what a crash loses at most.
const PENDING: Duration = Duration::from_millis(50);

/// From a commit of pending steps that the store refused to the next.
const PENDING_AGAIN: Duration = Duration::from_secs(1);

/// What came of an event.
#[derive(Debug)]
pub struct Driven {
    /// For whoever caused it.
    pub reply: Reply,
    /// The ceremony as it now is.
    pub ceremony: Arc<Ceremony>,
    /// Whether the event changed it.
    pub changed: bool,
}

/// Why an event did not count.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// There is no such ceremony.
    #[error("no such ceremony")]
    NotFound,
    /// It could not be stored, and nothing has happened.
    #[error("{0}")]
    Unavailable(String),
}

impl Relay {
    /// Moves one ceremony by one event, and stores it. The move runs in a task of its own: a caller
    /// that goes away, and takes its future with it, leaves nothing half done.
    ///
    /// # Errors
    /// [`DriveError`].
    pub async fn drive(&self, key: &CeremonyKey, event: Event) -> Result<Driven, DriveError> {
        self.may_lead_on(&event)?;
        let (relay, key) = (self.clone(), key.clone());
        self.run_detached(async move { relay.move_once(&key, Some(&event)).await })
            .await
            .unwrap_or_else(|| Err(DriveError::Unavailable("a task ended early".to_owned())))
    }

    /// [`Relay::drive`] for what a device did: a step that [`can_wait`] is stored a moment later, and
    /// needs no task of its own: before it is noted nothing has happened, and then all is done.
    pub(super) async fn drive_soon(
        &self,
        key: &CeremonyKey,
        event: Event,
    ) -> Result<Driven, DriveError> {
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
        if is_report && let Some(driven) = self.let_wait(key, &event).await? {
            return Ok(driven);
        }
        self.drive(key, event).await
    }

    /// [`Relay::drive`] for a task of the relay's own, which nobody ends early.
    pub(super) async fn drive_here(
        &self,
        key: &CeremonyKey,
        event: Event,
    ) -> Result<Driven, DriveError> {
        self.move_once(key, Some(&event)).await
    }

    /// Refuses what leads to an approval, while that may not be.
    fn may_lead_on(&self, event: &Event) -> Result<(), DriveError> {
        if matches!(event, Event::Claim { .. } | Event::Answer { .. }) {
            self.must_be_seen().map_err(unavailable)?;
        }
        Ok(())
    }

    /// The newest that this node knows, for who holds the turn.
    async fn held(&self, key: &CeremonyKey) -> Result<Held, DriveError> {
        match self.node.copies.get(key) {
            Some(copy) => Ok(copy),
            None => self.read(key).await.map_err(unavailable)?.ok_or(DriveError::NotFound),
        }
    }

    /// Takes an event whose step can wait for the ceremony's next commit; none: it cannot.
    async fn let_wait(
        &self,
        key: &CeremonyKey,
        event: &Event,
    ) -> Result<Option<Driven>, DriveError> {
        self.may_lead_on(event)?;
        let dependencies = self.dependencies();
        let _turn = self.node.moves.take(&key.to_string()).await;
        for _ in 0..RACES {
            let mut copy = self.held(key).await?;
            let waited = copy.steps().len();
            let transition = copy.step(dependencies.clock.now(), event.clone());
            if !can_wait(event, &transition, copy.latest()) {
                return Ok(None);
            }
            let Transition { reply, facts, effect } = transition;
            let changed = !facts.is_empty();
            if changed && !self.node.copies.keep(key, &copy) {
                continue;
            }
            if changed && waited == 0 {
                self.commit_soon(key.clone());
            }
            let ceremony = Arc::clone(copy.latest());
            if let Some(effect) = effect {
                self.perform(&ceremony, effect);
            }
            dependencies.counts.answered(event, reply);
            return Ok(Some(Driven { reply, ceremony, changed }));
        }
        Err(unavailable(StoreError::too_many_races()))
    }

    /// Moves the ceremony by an event, and stores it with the steps that wait; without an event,
    /// stores these.
    async fn move_once(
        &self,
        key: &CeremonyKey,
        event: Option<&Event>,
    ) -> Result<Driven, DriveError> {
        let dependencies = self.dependencies();
        let _turn = self.node.moves.take(&key.to_string()).await;
        let mut held = self.node.copies.get(key);
        for _ in 0..RACES {
            let was_held = held.is_some();
            let mut copy = match held.take() {
                Some(copy) => copy,
                None => {
                    let read = self.read(key).await.map_err(unavailable)?;
                    read.ok_or(DriveError::NotFound)?
                }
            };
            let now = dependencies.clock.now();
            let Transition { reply, facts, mut effect } = match event {
                Some(event) => copy.step(now, event.clone()),
                None => Transition { reply: Reply::Ignored, facts: Vec::new(), effect: None },
            };
            let changed = !facts.is_empty();
            let mut records = Batch::new();
            let (mut judged, mut is_news) = (None, false);
            if let Some(Effect::Complete { attempt }) = effect
                && dependencies.fido.judges_locally()
            {
                let completion = self.judge(copy.latest()).await;
                records = completion.records;
                if let Some(what) = completion.event {
                    let event =
                        SecurityEvent::new(key.tenant.clone(), dependencies.clock.now(), what);
                    let with_entry = records.entry(event.entry());
                    records = with_card_news(&*dependencies.store, with_entry, &event)
                        .await
                        .map_err(unavailable)?;
                    is_news = true;
                }
                let verdict = completion.verdict;
                let event = Event::Completed { attempt, verdict };
                let reply = copy.step(dependencies.clock.now(), event.clone()).reply;
                judged = Some((event, reply));
                effect = None;
            }
            let ceremony = Arc::clone(copy.latest());
            if copy.steps().is_empty() {
                // No commit shows that the copy was not old.
                if was_held && event.is_some() && !dependencies.store.is_exclusive() {
                    continue;
                }
                if let Some(Event::Recover { .. }) = event
                    && ceremony.closed().is_none()
                {
                    if !self.is_current(key, copy.revision).await.map_err(unavailable)? {
                        continue;
                    }
                    if self.node.places.count(&ceremony) {
                        dependencies.counts.taken_up();
                    }
                }
            } else {
                match self.commit(records, copy.revision, &ceremony, copy.facts()).await {
                    Ok(revision) => {
                        let ceremony = Arc::clone(&ceremony);
                        let exact = dependencies.store.is_exclusive();
                        self.node.copies.committed(key, Held::new(ceremony, revision), exact);
                    }
                    Err(StoreError::Conflict(record)) => {
                        if record.bucket != Bucket::Ceremonies {
                            held = self.node.copies.get(key);
                        }
                        continue;
                    }
                    Err(error) => return Err(unavailable(error)),
                }
                log_end(&ceremony);
                self.announce(&ceremony).await;
                if is_news {
                    let Request { tenant, username, .. } = &ceremony.request;
                    dependencies.bus.publish(Notice::News(tenant.clone(), username.clone())).await;
                }
            }
            if let Some(effect) = effect {
                self.perform(&ceremony, effect);
            }
            let asked = event.map(|event| (event, reply));
            for (event, reply) in asked.into_iter().chain(judged.as_ref().map(|(e, r)| (e, *r))) {
                dependencies.counts.answered(event, reply);
            }
            return Ok(Driven { reply, ceremony, changed });
        }
        Err(unavailable(StoreError::too_many_races()))
    }

    /// Whether the record is still at this revision. Only a commit knows where others write too.
    async fn is_current(&self, key: &CeremonyKey, at: Revision) -> Result<bool, StoreError> {
        let store = &self.dependencies().store;
        if store.is_exclusive() {
            return Ok(true);
        }
        let check = Batch::new().check(Bucket::Ceremonies, &key.to_string(), at);
        match store.commit(check).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Commits what is pending of a ceremony, unless another commit does it before.
    fn commit_soon(&self, key: CeremonyKey) {
        let relay = self.clone();
        self.dependencies().tasks.spawn_untraced(async move {
            let stopping = relay.dependencies().tasks.stopping().clone();
            let mut pause = PENDING;
            loop {
                let waited = stopping.run_until_cancelled(tokio::time::sleep(pause)).await;
                if !relay.node.copies.have_steps(&key) {
                    return;
                }
                match relay.move_once(&key, None).await {
                    Err(DriveError::Unavailable(error)) if waited.is_some() => {
                        tracing::warn!(ceremony = %key.id, error, "steps are not stored yet");
                        pause = PENDING_AGAIN;
                    }
                    Ok(_) | Err(_) => return,
                }
            }
        });
    }

    /// The only place that stores a ceremony; `facts` are all that happened since `expected`. Its
    /// end is one commit with what the end means for the user's prompt state: a "no" holds before
    /// phones and watchers hear of it, and no ended ceremony counts as open.
    pub(super) async fn commit(
        &self,
        records: Batch,
        expected: Revision,
        ceremony: &Ceremony,
        facts: &[Fact],
    ) -> Result<Revision, StoreError> {
        let Dependencies { journal, counts, .. } = self.dependencies();
        let mut batch = ceremonies::put(records, expected, ceremony)?;
        batch = journal.tell(batch, ceremony, facts);
        let user = user_prompts::user(&ceremony.request);
        let turn = if facts.iter().any(|fact| matches!(fact.kind, Kind::Closed { .. })) {
            let turn = self.node.user_prompts.take(user.as_str()).await;
            batch = self.count_end(batch, ceremony, facts).await?;
            Some(turn)
        } else {
            None
        };
        // Before the commit: once it is stored, a look may see the end and give the place back.
        let is_first = self.node.places.count(ceremony);
        let committed = self.commit_noted(batch).await;
        drop(turn);
        if committed.is_err() && is_first {
            self.node.places.discount(ceremony.request.id);
        }
        let revision = committed?;
        if is_first && !matches!(facts.first(), Some(Fact { kind: Kind::Opened, .. })) {
            counts.taken_up();
        }
        counts.committed(ceremony, facts);
        Ok(revision)
    }

    /// Refuses what would lead to an approval while somebody must see everything and cannot.
    pub(super) fn must_be_seen(&self) -> Result<(), StoreError> {
        match *self.dependencies().recording.borrow() {
            Ability::Well | Ability::Failing => Ok(()),
            Ability::Forbidding => {
                Err(StoreError::Unavailable("what happens now could not be recorded".to_owned()))
            }
        }
    }

    /// Keeps this node's own knowledge and tells every node to look again.
    async fn announce(&self, ceremony: &Ceremony) {
        self.remember(ceremony);
        let accepted = ceremony.closed().and_then(|closed| closed.accepted);
        if let Some(phone) = accepted.and_then(|(_, device, _)| self.registry().get(device)) {
            // It hears of the end, also if it answered before this socket showed it anything.
            phone.show(ceremony.request.id, Shown::Wait);
        }
        self.publish(&ceremony.request).await;
    }

    pub(super) async fn publish(&self, request: &Request) {
        self.dependencies().bus.publish(Notice::Ceremony(request.tenant.clone(), request.id)).await;
    }
}

/// Whether a device's report may wait for the ceremony's next commit: it ends nothing, or it is a
/// right code. Nothing is answered to them, so nothing is said that a crash could undo; what the code
/// leads to, a challenge, is stored before a device sees it. What changes nothing because it is known
/// already, needs no commit either.
fn can_wait(event: &Event, transition: &Transition, after: &Ceremony) -> bool {
    if matches!(event, Event::Claim { .. }) {
        return transition.effect.is_some();
    }
    let answers_nothing = matches!(transition.reply, Reply::Done | Reply::Ignored);
    answers_nothing && (transition.facts.is_empty() || after.closed().is_none())
}

/// Of a state that was just stored.
fn log_end(ceremony: &Ceremony) {
    if let Some(closed) = ceremony.closed() {
        fault_point::reached(Point::Closed);
        tracing::info!(
            ceremony = %ceremony.request.id,
            client = %ceremony.request.client_id,
            ceremony_type = %WireName(ceremony.request.ceremony_type),
            outcome = %WireName(closed.outcome),
            reason = closed.reason.map(Reason::code),
            "closed",
        );
    }
}

fn unavailable(error: StoreError) -> DriveError {
    DriveError::Unavailable(error.to_string())
}
