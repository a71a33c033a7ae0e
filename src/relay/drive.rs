//! The one road: load, step, save, and only then act.

use fido_relay_proto::{Reason, WireName};

use super::ceremonies::{self, CeremonyKey};
use super::standings;
use super::{Relay, World};
use crate::ceremony::Fact;
use crate::ceremony::{Ceremony, Event, Reply, Transition};
use crate::fault_point::{self, Point};
use crate::ports::{Ability, Batch, Notice, Revision, StoreError};

/// How often one event is stepped anew because another write came first. Every loss is another
/// event's progress, and a ceremony takes few steps in its life.
const RACES: usize = 256;
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
    /// It could not be stored, and nothing has happened.
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
        let driven = self.drive_with(key, event, Batch::new()).await?;
        driven.ok_or_else(|| unavailable(StoreError::too_many_races()))
    }

    /// [`Relay::drive`], with changes of other records that are committed with the ceremony's, if
    /// the event changes it; none: another write of these records came first, and nothing has
    /// happened.
    pub(super) async fn drive_with(
        &self,
        key: &CeremonyKey,
        event: Event,
        records: Batch,
    ) -> Result<Option<Driven>, DriveError> {
        if matches!(event, Event::Claim { .. } | Event::Answer { .. }) {
            self.must_be_seen().map_err(unavailable)?;
        }
        let (relay, key) = (self.clone(), key.clone());
        self.to_the_end(async move { relay.move_once(&key, &event, records).await })
            .await
            .unwrap_or_else(|| Err(DriveError::Unavailable("a task ended early".to_owned())))
    }

    async fn move_once(
        &self,
        key: &CeremonyKey,
        event: &Event,
        records: Batch,
    ) -> Result<Option<Driven>, DriveError> {
        let world = self.world();
        for _ in 0..RACES {
            let found = ceremonies::load(&*world.store, key).await.map_err(unavailable)?;
            let (mut ceremony, revision) = found.ok_or(DriveError::NotFound)?;
            let Transition { reply, facts, effect } =
                ceremony.step(world.clock.now(), event.clone());
            let changed = !facts.is_empty();
            if changed {
                match self.save(records.clone(), revision, &ceremony, &facts).await {
                    Ok(()) => {}
                    Err(StoreError::Conflict(record)) if records.names(&record) => {
                        return Ok(None);
                    }
                    Err(StoreError::Conflict(_)) => continue,
                    Err(error) => return Err(unavailable(error)),
                }
                log_end(&ceremony);
                self.announce(&ceremony).await;
            }
            if let Some(effect) = effect {
                self.perform(&ceremony, effect);
            }
            world.counts.answered(event, reply);
            return Ok(Some(Driven { reply, ceremony, changed }));
        }
        Err(unavailable(StoreError::too_many_races()))
    }

    /// Stores a changed ceremony. Its end is one commit with what the end means for the user's
    /// prompt state: a "no" holds before anybody hears of it, and no ended ceremony counts as open.
    async fn save(
        &self,
        records: Batch,
        revision: Revision,
        ceremony: &Ceremony,
        facts: &[Fact],
    ) -> Result<(), StoreError> {
        let World { store, journal, counts, .. } = self.world();
        let mut batch = ceremonies::put(records, revision, ceremony)?;
        batch = journal.tell(batch, ceremony, facts);
        let turn = match ceremony.closed() {
            Some(_) => {
                let turn = self.node.standings.take(&standings::user(&ceremony.request)).await;
                batch = self.count_end(batch, ceremony).await?;
                Some(turn)
            }
            None => None,
        };
        store.commit(batch).await?;
        drop(turn);
        self.meet(ceremony);
        counts.committed(ceremony, facts);
        Ok(())
    }

    /// Refuses what would lead to an approval while somebody must see everything and cannot.
    pub(super) fn must_be_seen(&self) -> Result<(), StoreError> {
        match *self.world().recording.borrow() {
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
