//! Showing phones what the stored state asks for. Called whenever somebody should look again, and
//! when a phone returns: both come to the same.

use std::sync::Arc;

use fido_relay_proto::device::{self, FrameErrorCode, Offer, Preview};
use fido_relay_proto::limits::CODE_DIGITS;
use fido_relay_proto::{Binding, CeremonyId, DeviceId, RelayFrame};

use crate::app::ceremonies::claims::Refused;
use crate::app::ceremonies::copies::Held;
use crate::app::ceremonies::record::CeremonyKey;
use crate::app::ceremonies::user_prompts;
use crate::app::ceremonies::view::View;
use crate::app::devices::{self, UserKey};
use crate::core::ceremony::{Ceremony, Prompt};
use crate::core::session::CloseReason;
use crate::delivery::connection::{Connection, Owner, Shown};
use crate::fault_point::{self, Point};
use crate::node::Relay;
use crate::ports::Revision;

/// Whose phone it is.
fn user(phone: &Owner) -> UserKey {
    UserKey::new(&phone.tenant, &phone.username)
}

/// Looks at a ceremony in a row at most: more changes than it has steps in its life.
const LOOKS: usize = 16;

impl Relay {
    /// Looks at a ceremony again: shows it to the user's phones on this node, wakes its watchers.
    /// Gives what it saw.
    pub(crate) async fn look(&self, key: &CeremonyKey) -> Option<Revision> {
        let found = self.known(key).await.unwrap_or_else(|error| {
            tracing::warn!(ceremony = %key.id, %error, "could not look at a ceremony");
            None
        })?;
        let phones = self.phones_of(&found.stored).await;
        // What came while the phones were looked up is shown in its place.
        let newer = self.node.copies.get(key).filter(|copy| copy.revision > found.revision);
        let Held { stored: ceremony, revision, .. } = newer.unwrap_or(found);
        for phone in &phones {
            self.show(&ceremony, phone);
        }
        for phone in &phones {
            if !self.ringing(phone.owner()).contains(key) {
                self.ring_next(phone).await;
            }
        }
        self.node.pullers.wake(&user_prompts::user(&ceremony.request));
        self.node.watchers.wake(key.id, revision, || View::from(&*ceremony));
        if ceremony.closed().is_some() {
            fault_point::passing(Point::Notified);
            self.node.copies.forget(key);
        }
        Some(revision)
    }

    /// The user's phones on this node.
    pub(crate) async fn phones_of(&self, ceremony: &Ceremony) -> Vec<Arc<Connection>> {
        if self.registry().is_empty() {
            return Vec::new();
        }
        let request = &ceremony.request;
        let store = &*self.dependencies().store;
        match devices::of_user(store, &request.tenant, &request.username).await {
            Ok(ids) => ids.into_iter().filter_map(|id| self.registry().get(id)).collect(),
            Err(error) => {
                tracing::warn!(ceremony = %request.id, %error, "could not read a user's devices");
                Vec::new()
            }
        }
    }

    /// Once a ceremony no longer rings, the phone rings for the next one that waits. What this node
    /// remembers of that one may be old, so the store is asked, until both say the same.
    async fn ring_next(&self, phone: &Connection) {
        let mut rung = Vec::new();
        for _ in 0..LOOKS {
            let new = |key: &CeremonyKey| !rung.contains(key) && phone.shown(key.id).is_none();
            let Some(key) = self.ringing(phone.owner()).into_iter().find(new) else { return };
            match self.load(&key).await {
                Ok(Some(waiting)) => self.show(&waiting, phone),
                Ok(None) => {
                    self.node.open_ceremonies.remove(&user(phone.owner()), &key);
                    self.node.places.release(key.id);
                }
                Err(error) => {
                    tracing::warn!(ceremony = %key.id, %error, "could not ring for a ceremony");
                    return;
                }
            }
            rung.push(key);
        }
    }

    /// What this phone rings for.
    fn ringing(&self, phone: &Owner) -> Vec<CeremonyKey> {
        self.node.open_ceremonies.ringing(&user(phone), phone.device, self.node.policy.ringing)
    }

    /// Whether this phone rings for a ceremony.
    pub(crate) fn rings_for(&self, ceremony: &Ceremony, phone: &Owner) -> bool {
        self.ringing(phone).contains(&CeremonyKey::from(ceremony))
    }

    /// Whether the phone rings for this one. One that shows a prompt already keeps it.
    fn rings(&self, ceremony: &Ceremony, phone: &Connection) -> bool {
        phone.shown(ceremony.request.id).is_some() || self.rings_for(ceremony, phone.owner())
    }

    /// Looks until nothing is new, beside the looks that notices cause: one that read before a
    /// change and showed after it would otherwise leave a prompt that nobody takes down.
    pub(crate) async fn look_until_still(&self, key: &CeremonyKey) {
        let mut seen = None;
        for _ in 0..LOOKS {
            let now = self.look(key).await;
            if now == seen {
                return;
            }
            seen = now;
        }
    }

    /// What may be open for this device.
    pub(crate) fn open_for(&self, connection: &Connection) -> Vec<CeremonyKey> {
        self.node.open_ceremonies.of(&user(connection.owner()))
    }

    /// Shows a ceremony to a device that has just come. One at a time: the caller writes what is
    /// shown before it asks for the next, since all of them may be more than an outbox holds.
    ///
    /// It looks until nothing is new: a change between a reading and its showing told this
    /// connection nothing, since there was nothing yet to take down.
    pub async fn show_again(&self, key: &CeremonyKey, connection: &Connection) {
        let mut shown = None;
        for _ in 0..LOOKS {
            match self.known(key).await {
                Ok(Some(copy)) if shown == Some(copy.revision) => return,
                Ok(Some(Held { stored, revision, .. })) => {
                    self.show(&stored, connection);
                    if connection.shown(key.id).is_none() {
                        // Another's turn, and perhaps this node did not know whose.
                        self.ring_next(connection).await;
                    }
                    shown = Some(revision);
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(ceremony = %key.id, %error, "could not show a ceremony again");
                }
            }
        }
    }

    /// Closes the socket of a revoked device, if it is here.
    pub(crate) fn drop_revoked(&self, device: DeviceId) {
        if let Some(connection) = self.registry().get(device) {
            connection.close(CloseReason::Revoked);
        }
    }

    /// Lets a device whose key has changed sign again, if it is here.
    pub(crate) fn renew(&self, device: DeviceId) {
        if let Some(connection) = self.registry().get(device) {
            connection.renew();
        }
    }

    /// Tells a phone whose answer was accepted how it ended, if it has: also one that was away
    /// when it was told.
    pub(crate) fn show_end(&self, ceremony: &Ceremony, connection: &Connection) {
        if ceremony.closed().is_some() {
            connection.show(ceremony.request.id, Shown::Wait);
            self.show(ceremony, connection);
        }
    }

    pub(crate) fn show(&self, ceremony: &Ceremony, connection: &Connection) {
        let id = ceremony.request.id;
        match ceremony.prompt_for(connection.owner().device) {
            Prompt::Nothing => {}
            Prompt::Offer | Prompt::Challenge(_)
                if ceremony.is_unclaimed() && !self.rings(ceremony, connection) => {}
            // Noted, so that a phone that has come back meanwhile hears how it ends.
            Prompt::Wait => {
                connection.show(id, Shown::Wait);
            }
            // Its person found it by the code already.
            Prompt::Offer if connection.shown(id) == Some(Shown::Preview) => {}
            Prompt::Offer => {
                if connection.show(id, Shown::Offer) {
                    self.send(ceremony, connection, Some(id));
                }
            }
            Prompt::Challenge(challenge) => {
                if connection.show(id, Shown::Challenge(challenge.attempt)) {
                    self.send(ceremony, connection, Some(id));
                }
            }
            Prompt::Elsewhere => {
                let shown = connection.shown(id);
                if shown.is_some_and(|shown| shown != Shown::Elsewhere)
                    && connection.show(id, Shown::Elsewhere)
                {
                    self.send(ceremony, connection, None);
                }
            }
            Prompt::Closed(_) => {
                if connection.unshow(id).is_some() {
                    self.send(ceremony, connection, None);
                }
            }
        }
    }

    fn send(&self, ceremony: &Ceremony, connection: &Connection, sent: Option<CeremonyId>) {
        if let Some(frame) = self.frame_for(ceremony, connection.owner().device) {
            connection.send(&frame, sent);
        }
    }

    /// The frame that gives a device a ceremony's state; none: there is nothing to send.
    pub(crate) fn frame_for(&self, ceremony: &Ceremony, device: DeviceId) -> Option<RelayFrame> {
        let ceremony_id = ceremony.request.id;
        Some(match ceremony.prompt_for(device) {
            Prompt::Nothing | Prompt::Wait => return None,
            Prompt::Offer => RelayFrame::Offer(Box::new(self.offer(ceremony, None))),
            Prompt::Challenge(challenge) => RelayFrame::Challenge(Box::new(device::Challenge {
                offer: self.offer(ceremony, None),
                attempt: challenge.attempt,
                challenge: challenge.challenge.clone(),
                origin: challenge.origin.clone(),
                public_key: challenge.public_key.clone(),
            })),
            Prompt::Elsewhere => {
                Refused::from(FrameErrorCode::ClaimedElsewhere).frame(Some(ceremony_id), None)
            }
            Prompt::Closed(closed) => {
                let (outcome, reason) = (closed.outcome, closed.reason);
                RelayFrame::Closed { ceremony_id, outcome, reason }
            }
        })
    }

    pub(crate) fn offer(&self, ceremony: &Ceremony, preview: Option<Preview>) -> Offer {
        let request = &ceremony.request;
        Offer {
            ceremony_id: request.id,
            ceremony_type: request.ceremony_type,
            client_name: request.client_name.clone(),
            rp_id: request.rp_id.clone(),
            username: request.username.clone(),
            display_name: request.display_name.clone(),
            message: request.message.clone(),
            transaction: request.transaction.clone(),
            context: request.context.clone(),
            code_length: match request.binding {
                Binding::Code => CODE_DIGITS,
                Binding::None => 0,
            },
            expires_in: request.deadline.secs_left(self.dependencies().clock.now()),
            preview,
        }
    }
}
