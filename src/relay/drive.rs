//! The one road: load, step, save, and only then act.

use std::time::Duration;

use fido_relay_proto::device::DeclineReason;
use fido_relay_proto::{Reason, WireName};
use futures::channel::oneshot;
use tokio::time::Instant;

use super::Relay;
use super::ceremonies::{self, CeremonyKey};
use super::standings;
use crate::ceremony::{Ceremony, Effect, Event, Reply};
use crate::fault_point::{self, Point};
use crate::ports::{Ability, Batch, Happening, Notice, Revision, SecurityEvent, StoreError};
use crate::security::random;

/// How often one event is stepped anew because somebody else's write came first. Every loss is
/// somebody's progress, and a ceremony takes few steps in its life.
const RACES: usize = 256;
/// How long a write of unknown fate is looked for before that is left to the deadlines.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
/// First and longest pause between two of these looks.
const SETTLE_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What came of an event.
#[derive(Debug)]
pub struct Driven {
    /// For whoever caused it.
    pub reply: Reply,
    /// The ceremony as it now stands.
    pub ceremony: Ceremony,
    /// Whether the event changed it.
    pub changed: bool,
}

/// Why an event did not count.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// There is no such ceremony.
    #[error("no such ceremony")]
    NotFound,
    /// It could not be stored. Nothing has happened, or the write stands all the same: then it
    /// counts, and the same event again is answered by what stands.
    #[error("{0}")]
    Unavailable(String),
}

impl Relay {
    /// Moves one ceremony by one event. The move runs in a task of its own: a caller that goes
    /// away, and takes its future with it, leaves nothing half done.
    ///
    /// # Errors
    /// [`DriveError`].
    pub async fn drive(&self, key: &CeremonyKey, event: Event) -> Result<Driven, DriveError> {
        if matches!(event, Event::Claim { .. } | Event::Answer { .. }) {
            self.must_be_seen().map_err(unavailable)?;
        }
        let (tell, told) = oneshot::channel();
        let (relay, key) = (self.clone(), key.clone());
        let mut event = event;
        if let Event::Answer { intent, .. } = &mut event {
            // Here and nowhere else: two moves with one name could both make the call.
            *intent = random::bytes();
        }
        self.world().tasks.spawn_bare(async move {
            let mut tried = false;
            let driven = relay.move_once(&key, &event, &mut tried).await;
            let unsettled = tried && driven.is_err();
            // Nobody waits for the answer any more: the move counts all the same.
            drop(tell.send(driven));
            if unsettled {
                relay.settle(&key, |ceremony| ceremony.effect_of(&event)).await;
            }
        });
        told.await.unwrap_or_else(|_| Err(DriveError::Unavailable("a task ended early".to_owned())))
    }

    /// `tried` tells whether a write was handed to the store that it did not acknowledge. A
    /// store may have kept such a write: who finds it when looking again goes on from there.
    async fn move_once(
        &self,
        key: &CeremonyKey,
        event: &Event,
        tried: &mut bool,
    ) -> Result<Driven, DriveError> {
        let store = &*self.world().store;
        for _ in 0..RACES {
            let found = ceremonies::load(store, key).await.map_err(unavailable)?;
            let (mut ceremony, revision) = found.ok_or(DriveError::NotFound)?;
            let transition = ceremony.step(self.world().clock.now(), event.clone());
            let mut effect = transition.effect;
            let changed = !transition.facts.is_empty();
            if changed {
                match self.save(revision, &ceremony).await {
                    Ok(()) => {
                        log_end(&ceremony);
                        self.announce(&ceremony).await;
                    }
                    Err(error) => {
                        *tried = true;
                        match error {
                            StoreError::Conflict => continue,
                            StoreError::Unavailable(_) => return Err(unavailable(error)),
                        }
                    }
                }
            } else if *tried {
                effect = effect.or_else(|| ceremony.effect_of(event));
                self.announce(&ceremony).await;
            }
            if let Some(effect) = effect {
                self.perform(&ceremony, effect);
            }
            self.world().witnesses.answered(event, transition.reply);
            if changed {
                self.world().witnesses.changed(&ceremony, Some(event)).await;
                if let Some(alarm) = alarm(&ceremony, event) {
                    self.world().witnesses.noted(&alarm).await;
                }
            } else if *tried {
                self.world().witnesses.found(&ceremony).await;
            }
            return Ok(Driven { reply: transition.reply, ceremony, changed });
        }
        Err(DriveError::Unavailable("too many races for one ceremony".to_owned()))
    }

    /// Stores a changed ceremony. Its end is one commit with what the end means for the user's
    /// prompt state: a "no" holds before anybody hears of it, and no ended ceremony counts as open.
    async fn save(&self, revision: Revision, ceremony: &Ceremony) -> Result<(), StoreError> {
        let batch = ceremonies::put(Batch::new(), revision, ceremony)?;
        let store = &self.world().store;
        if ceremony.closed().is_none() {
            return store.commit(batch).await.map(drop);
        }
        let _turn = self.node.standings.take(&standings::user(&ceremony.request)).await;
        let batch = self.count_end(batch, ceremony).await?;
        store.commit(batch).await.map(drop)
    }

    /// The store refused a write that may stand all the same. Looks for it, makes the call that
    /// nobody else will make if it stands (`owed`), and has everybody look again.
    pub(super) async fn settle(
        &self,
        key: &CeremonyKey,
        owed: impl Fn(&Ceremony) -> Option<Effect>,
    ) {
        self.node.unsettled.insert(key.clone());
        let stopping = self.world().tasks.stopping().clone();
        let give_up = Instant::now() + SETTLE_LIMIT;
        let (mut pause, longest) = SETTLE_PAUSE;
        while stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            match self.load(key).await {
                Ok(Some(ceremony)) => {
                    if let Some(effect) = owed(&ceremony) {
                        self.perform(&ceremony, effect);
                    }
                    self.announce(&ceremony).await;
                    return self.world().witnesses.found(&ceremony).await;
                }
                Ok(None) => return self.node.live.release(key.id),
                Err(error) if Instant::now() >= give_up => {
                    tracing::warn!(ceremony = %key.id, %error, "the fate of a write is unknown");
                    return self.tick_soon(key.clone());
                }
                Err(_) => pause = (pause * 2).min(longest),
            }
        }
    }

    /// Refuses what would lead to an approval while somebody must see everything and cannot.
    pub(super) fn must_be_seen(&self) -> Result<(), StoreError> {
        match self.world().witnesses.ability() {
            Ability::Well | Ability::Failing => Ok(()),
            Ability::Forbidding => {
                Err(StoreError::Unavailable("what happens now could not be recorded".to_owned()))
            }
        }
    }

    /// Keeps this node's own knowledge and tells every node to look again.
    pub(super) async fn announce(&self, ceremony: &Ceremony) {
        self.remember(ceremony);
        let request = &ceremony.request;
        self.world().bus.publish(Notice::Ceremony(request.tenant.clone(), request.id)).await;
    }
}

/// The person said that it was not them.
fn alarm(ceremony: &Ceremony, event: &Event) -> Option<SecurityEvent> {
    let Event::Decline { device, reason: DeclineReason::NotMe } = event else { return None };
    let closed = ceremony.closed().filter(|closed| closed.reason == Some(Reason::NotMe))?;
    let request = &ceremony.request;
    Some(SecurityEvent {
        tenant: request.tenant.clone(),
        at: closed.at,
        what: Happening::NotMe {
            ceremony_id: request.id,
            client_id: request.client_id,
            device_id: *device,
            username: request.username.clone(),
        },
    })
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
