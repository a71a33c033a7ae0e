//! The one road: load, step, save, and only then act.

use futures::channel::oneshot;

use super::Relay;
use super::ceremonies::{self, CeremonyKey};
use crate::ceremony::{Ceremony, Event, Reply};
use crate::fault_point::{self, Point};
use crate::ports::{Notice, StoreError};

/// How often one event is stepped anew because somebody else's write came first. Every loss is
/// somebody's progress, and a ceremony takes few steps in its life.
const RACES: usize = 256;

/// What came of an event.
#[derive(Debug)]
pub struct Driven {
    /// For whoever caused it.
    pub reply: Reply,
    /// The ceremony as it now stands.
    pub ceremony: Ceremony,
}

/// Why an event did not count.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// There is no such ceremony.
    #[error("no such ceremony")]
    NotFound,
    /// It could not be stored; nothing has happened.
    #[error("{0}")]
    Unavailable(String),
}

impl Relay {
    /// Moves one ceremony by one event. The move runs in a task of its own: a caller that goes
    /// away, and takes its future with it, leaves nothing half done.
    ///
    /// # Errors
    /// [`DriveError`]; then the ceremony is as it was.
    pub async fn drive(&self, key: &CeremonyKey, event: Event) -> Result<Driven, DriveError> {
        let (tell, told) = oneshot::channel();
        let (relay, key) = (self.clone(), key.clone());
        self.world().tasks.spawn_bare(async move {
            let driven = relay.move_once(&key, event).await;
            // Nobody waits for the answer any more: the move counts all the same.
            drop(tell.send(driven));
        });
        told.await.unwrap_or_else(|_| Err(DriveError::Unavailable("a task ended early".to_owned())))
    }

    async fn move_once(&self, key: &CeremonyKey, event: Event) -> Result<Driven, DriveError> {
        let store = &*self.world().store;
        for _ in 0..RACES {
            let found = ceremonies::load(store, key).await.map_err(unavailable)?;
            let (mut ceremony, revision) = found.ok_or(DriveError::NotFound)?;
            let transition = ceremony.step(self.world().clock.now(), event.clone());
            if transition.changed {
                match ceremonies::save(store, revision, &ceremony).await {
                    Ok(_) => self.announce(&ceremony).await,
                    Err(StoreError::Conflict) => continue,
                    Err(error) => return Err(unavailable(error)),
                }
            } else {
                tracing::trace!(ceremony = %key, reply = ?transition.reply, "nothing changed");
            }
            if let Some(effect) = transition.effect {
                self.perform(&ceremony, effect);
            }
            return Ok(Driven { reply: transition.reply, ceremony });
        }
        Err(DriveError::Unavailable("too many races for one ceremony".to_owned()))
    }

    /// Keeps this node's own knowledge and tells every node to look again.
    pub(super) async fn announce(&self, ceremony: &Ceremony) {
        self.remember(ceremony);
        let request = &ceremony.request;
        if let Some(closed) = ceremony.closed() {
            fault_point::reached(Point::Closed);
            let reason = closed.reason.map(fido_relay_proto::Reason::code);
            tracing::info!(ceremony = %request.id, outcome = ?closed.outcome, reason, "closed");
        }
        self.world().bus.publish(Notice::Ceremony(request.tenant.clone(), request.id)).await;
    }
}

fn unavailable(error: StoreError) -> DriveError {
    DriveError::Unavailable(error.to_string())
}
