//! Device sockets that come and go. The loop over a real socket is the edge's.

use std::sync::Arc;

use fido_relay_proto::http::P256Jwk;
use fido_relay_proto::{CeremonyId, Phase};

use super::connection::Connection;
use super::{Delivery, notices};
use crate::app::ceremonies::{AdvanceError, Advanced, CeremonyKey, DeviceIdentity};
use crate::app::devices;
use crate::core::ceremony::Event;
use crate::core::session::CloseReason;
use crate::fault_point::{self, Point};

impl Delivery {
    /// A device has authenticated: registers its socket, and gives what is open for it, each to be
    /// shown by [`Delivery::show_again`]. Registered first, so that nothing falls between the two.
    ///
    /// A revocation or a key rotation between the proof and the registration found no socket here
    /// to close or to renew, so the device is loaded once more: a revoked device's socket is
    /// closed; a device whose key is no longer `proven_by` must sign with the new one.
    pub async fn attach(
        &self,
        connection: &Arc<Connection>,
        proven_by: &P256Jwk,
    ) -> Vec<CeremonyKey> {
        self.registry().insert(Arc::clone(connection));
        let identity = connection.identity();
        match devices::load(self.store(), &identity.tenant, identity.device).await {
            Ok(Some(device)) => {
                if device.jwk != *proven_by {
                    connection.renew();
                }
                if let Some(notice) = notices::own(&device, self.dependencies().clock.now()) {
                    connection.send(&notice, None);
                }
                match devices::notices_of_user(self.store(), &identity.tenant, &identity.username)
                    .await
                {
                    Ok(notices) => self.send_new(&device, &notices, connection),
                    // They are sent over the next socket.
                    Err(error) => tracing::warn!(%error, "a device could not be sent its notices"),
                }
                self.ceremonies().open_for(identity)
            }
            Ok(None) => {
                connection.close(CloseReason::Revoked);
                Vec::new()
            }
            Err(error) => {
                tracing::warn!(%error, "a device could not be looked up");
                connection.close(CloseReason::Overload);
                Vec::new()
            }
        }
    }

    /// A socket is gone. A newer one of the same device stays.
    ///
    /// A prompt that it took along unacknowledged, and that no other socket here has, reached no
    /// device.
    pub fn detach(&self, connection: &Connection) {
        let identity = connection.identity();
        self.registry().remove(identity.device, connection.id());
        for id in connection.unacked() {
            let (delivery, identity) = (self.clone(), identity.clone());
            self.dependencies().tasks.spawn_untraced(async move {
                if let Err(error) = delivery.note_lost(&identity, id).await {
                    tracing::debug!(ceremony = %id, %error, "a lost prompt could not be recorded");
                }
            });
        }
    }

    async fn note_lost(
        &self,
        identity: &DeviceIdentity,
        id: CeremonyId,
    ) -> Result<(), AdvanceError> {
        let key = identity.ceremony_key(id);
        let Some(ceremony) = self.ceremonies().load(&key).await? else { return Ok(()) };
        let connections = self.connections_for(&ceremony).await;
        if connections.iter().all(|connection| connection.shown(id).is_none()) {
            let event = Event::Lost { device: identity.device };
            self.ceremonies().advance_soon(&key, event).await?;
        }
        Ok(())
    }

    /// An offer or challenge of this ceremony was written to the socket.
    pub async fn sent(&self, connection: &Connection, ceremony: CeremonyId) {
        self.note_sent(connection.identity(), ceremony).await;
    }

    /// A prompt was sent to this device, on a socket or by pull.
    pub(super) async fn note_sent(&self, identity: &DeviceIdentity, ceremony: CeremonyId) {
        let (key, device) = (identity.ceremony_key(ceremony), identity.device);
        let advanced = self.note(&key, Event::Sent { device }).await;
        match advanced.map(|advanced| advanced.ceremony.phase()) {
            Some(Phase::Offered) => fault_point::reached(Point::Offered),
            Some(Phase::Challenged) => fault_point::reached(Point::ChallengeSent),
            Some(Phase::Preparing | Phase::Verifying | Phase::Closed) | None => {}
        }
    }

    /// Advances a ceremony by a step that has no caller to answer: an error is only logged.
    pub(super) async fn note(&self, key: &CeremonyKey, event: Event) -> Option<Advanced> {
        let advanced = self.ceremonies().advance_soon(key, event).await;
        advanced
            .inspect_err(
                |error| tracing::debug!(ceremony = %key.id, %error, "a step could not be recorded"),
            )
            .ok()
    }
}
