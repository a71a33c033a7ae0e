//! Prompts on device sockets: what the stored ceremony asks for is shown whenever a notice says to
//! look, and when a device returns; both come to the same.

use std::sync::Arc;

use fido_relay_proto::CeremonyId;

use super::Delivery;
use super::connection::{Connection, Shown};
use super::frames::frame_for;
use crate::app::ceremonies::{CeremonyKey, CeremonySnapshot, DeviceIdentity, user_of};
use crate::app::devices;
use crate::core::ceremony::{Ceremony, Prompt};
use crate::fault_point::{self, Point};
use crate::ports::Revision;

/// Most looks at a ceremony in a row: more than it changes in its life.
const LOOKS: usize = 16;

impl Delivery {
    /// Looks at a ceremony again: shows it to the user's devices on this node and wakes its watchers.
    /// Gives the revision that it saw.
    pub(super) async fn look(&self, key: &CeremonyKey) -> Option<Revision> {
        let found = self.ceremonies().newest(key).await.unwrap_or_else(|error| {
            tracing::warn!(ceremony = %key.id, %error, "a ceremony could not be read");
            None
        })?;
        let connections = self.connections_for(&found.stored).await;
        // A commit that happens while the devices are looked up replaces what is shown.
        let newer = self.ceremonies().copy(key).filter(|copy| copy.revision > found.revision);
        let copy = newer.unwrap_or(found);
        let (ceremony, revision) = (&copy.stored, copy.revision);
        for connection in &connections {
            self.show(copy.for_device(connection.identity().device), connection);
        }
        for connection in &connections {
            if !self.ceremonies().ringing_on(connection.identity()).contains(key) {
                self.ring_next(connection).await;
            }
        }
        self.state.pulls.wake(&user_of(&ceremony.request));
        self.state.watchers.wake(key.id, revision, || CeremonySnapshot::from(&**ceremony));
        if ceremony.closed().is_some() {
            fault_point::passing(Point::Notified);
            self.ceremonies().forget_copy(key);
        }
        Some(revision)
    }

    /// The sockets of the user's devices on this node.
    pub(super) async fn connections_for(&self, ceremony: &Ceremony) -> Vec<Arc<Connection>> {
        if self.registry().is_empty() {
            return Vec::new();
        }
        let request = &ceremony.request;
        match devices::of_user(self.store(), &request.tenant, &request.username).await {
            Ok(ids) => ids.into_iter().filter_map(|id| self.registry().get(id)).collect(),
            Err(error) => {
                tracing::warn!(
                    ceremony = %request.id, %error,
                    "a user's devices could not be read"
                );
                Vec::new()
            }
        }
    }

    /// Once a ceremony no longer rings, the device rings for the next one that waits. What this node
    /// remembers of that one may be old, so the store is asked, until both say the same.
    async fn ring_next(&self, connection: &Connection) {
        let identity = connection.identity();
        let mut rung = Vec::new();
        for _ in 0..LOOKS {
            let is_new =
                |key: &CeremonyKey| !rung.contains(key) && connection.shown(key.id).is_none();
            let next = self.ceremonies().ringing_on(identity).into_iter().find(is_new);
            let Some(key) = next else { return };
            match self.ceremonies().load(&key).await {
                Ok(Some(waiting)) => self.show(&waiting, connection),
                Ok(None) => self.ceremonies().forget_missing(&identity.user(), &key),
                Err(error) => {
                    tracing::warn!(ceremony = %key.id, %error, "a ceremony could not be offered");
                    return;
                }
            }
            rung.push(key);
        }
    }

    /// Whether a device rings for a ceremony.
    pub(super) fn rings_on(&self, ceremony: &Ceremony, device: &DeviceIdentity) -> bool {
        self.ceremonies().ringing_on(device).contains(&CeremonyKey::from(ceremony))
    }

    /// Whether the prompt is this device's: it rings there, the app has it already, a wake brought
    /// the app, or no other device can claim it any more.
    pub(super) fn is_prompt_of(&self, ceremony: &Ceremony, device: &DeviceIdentity) -> bool {
        !ceremony.is_unclaimed()
            || ceremony.is_acked_by(device.device)
            || ceremony.has_woken(device.device)
            || self.rings_on(ceremony, device)
    }

    /// Looks until nothing is new, in addition to the looks that notices cause. One that read
    /// before a change and showed after it would otherwise leave a prompt that no later look takes
    /// down.
    pub(crate) async fn look_until_unchanged(&self, key: &CeremonyKey) {
        let mut seen = None;
        for _ in 0..LOOKS {
            let now = self.look(key).await;
            if now == seen {
                return;
            }
            seen = now;
        }
    }

    /// Shows a ceremony to a device that has just connected. One at a time: the caller writes what is
    /// shown before it asks for the next, since all of them may be more than an outbox holds.
    ///
    /// It looks until nothing is new: a change between a reading and its showing had nothing to take
    /// down on this connection yet.
    pub async fn show_again(&self, key: &CeremonyKey, connection: &Connection) {
        let mut shown = None;
        for _ in 0..LOOKS {
            match self.ceremonies().newest(key).await {
                Ok(Some(copy)) if shown == Some(copy.revision) => return,
                Ok(Some(copy)) => {
                    self.show(copy.for_device(connection.identity().device), connection);
                    if connection.shown(key.id).is_none() {
                        // Another ceremony's turn, and perhaps this node did not know which.
                        self.ring_next(connection).await;
                    }
                    shown = Some(copy.revision);
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(
                        ceremony = %key.id, %error,
                        "a ceremony could not be shown again"
                    );
                }
            }
        }
    }

    /// Sends the outcome to the device whose answer was accepted, if the ceremony has ended: also
    /// one that was away when it ended.
    pub(super) fn show_end(&self, ceremony: &Ceremony, connection: &Connection) {
        if ceremony.closed().is_some() {
            connection.show(ceremony.request.id, Shown::Wait);
            self.show(ceremony, connection);
        }
    }

    /// Shows on a socket what the ceremony asks for, unless it shows that already.
    pub(super) fn show(&self, ceremony: &Ceremony, connection: &Connection) {
        let id = ceremony.request.id;
        let shown = connection.shown(id);
        match ceremony.prompt_for(connection.identity().device) {
            Prompt::Nothing => {}
            // A device that shows a prompt already keeps it.
            Prompt::Offer | Prompt::Challenge(_)
                if ceremony.is_unclaimed()
                    && shown.is_none()
                    && !self.rings_on(ceremony, connection.identity()) => {}
            // Noted, so that a device that has come back meanwhile hears how it ends.
            Prompt::Wait => {
                connection.show(id, Shown::Wait);
            }
            // Its person found it by the code already.
            Prompt::Offer if shown == Some(Shown::Preview) => {}
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
                if shown.is_some() && connection.show(id, Shown::Elsewhere) {
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
        let now = self.dependencies().clock.now();
        if let Some(frame) = frame_for(ceremony, connection.identity().device, now) {
            connection.send(&frame, sent);
        }
    }
}
