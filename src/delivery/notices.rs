//! Notices to a user's devices of what became of the other devices and of the user's cards. They are
//! stored with the user, so that a device that was away hears them when it connects; the device itself
//! knows, by their ids, which it has seen.

use fido_relay_proto::device::{Notice as NoticeFrame, NoticeEvent};
use fido_relay_proto::{RelayFrame, TenantId, UnixMillis, Username};

use super::Delivery;
use super::connection::Connection;
use crate::app::devices::{self, Device, DeviceNotice, TOLD_FOR_S, UserKey};
use crate::ports::StoreError;

impl Delivery {
    /// Sends the user's devices on this node what they have not been sent yet.
    pub(super) async fn send_notices(&self, tenant: &TenantId, username: &Username) {
        self.state.pulls.wake(&UserKey::new(tenant, username));
        if self.registry().is_empty() {
            return;
        }
        if let Err(error) = self.send_notices_to_sockets(tenant, username).await {
            // They are sent when the devices connect again.
            tracing::warn!(%error, "devices could not be sent notices");
        }
    }

    async fn send_notices_to_sockets(
        &self,
        tenant: &TenantId,
        username: &Username,
    ) -> Result<(), StoreError> {
        let store = self.store();
        for id in devices::of_user(store, tenant, username).await? {
            let Some(connection) = self.registry().get(id) else { continue };
            if let Some(device) = devices::load(store, tenant, id).await? {
                let notices = devices::notices_of_user(store, tenant, username).await?;
                self.send_new(&device, &notices, &connection);
            }
        }
        Ok(())
    }

    /// Sends over one socket what concerns its device and was not sent there yet.
    pub(super) fn send_new(
        &self,
        device: &Device,
        notices: &[DeviceNotice],
        connection: &Connection,
    ) {
        connection.send_notices(frames(device, notices, self.dependencies().clock.now()));
    }
}

/// The notices that concern a device, each with its number.
pub(super) fn frames<'a>(
    device: &'a Device,
    notices: &'a [DeviceNotice],
    now: UnixMillis,
) -> impl Iterator<Item = (u64, RelayFrame)> + 'a {
    let concerning = notices.iter().filter(move |notice| concerns(notice, device, now));
    concerning.map(move |notice| (notice.seq, frame(notice, now)))
}

/// The notice of a device itself that its push address was removed, until it has set another.
pub(super) fn own(device: &Device, now: UnixMillis) -> Option<RelayFrame> {
    let (notice_id, at) = device.push_notice()?;
    Some(RelayFrame::Notice(Box::new(NoticeFrame {
        notice_id,
        event: NoticeEvent::PushRemoved,
        device_id: None,
        card_id: None,
        name: None,
        platform: None,
        ago_s: now.millis_since(at) / 1000,
        count: None,
        since_s: None,
    })))
}

/// A device hears of others alone, and of what happened since it was paired.
fn concerns(notice: &DeviceNotice, device: &Device, now: UnixMillis) -> bool {
    notice.device != Some(device.id)
        && device.paired_at <= notice.at
        && now < notice.at.plus_secs(TOLD_FOR_S)
}

fn frame(notice: &DeviceNotice, now: UnixMillis) -> RelayFrame {
    RelayFrame::Notice(Box::new(NoticeFrame {
        notice_id: notice.id,
        event: notice.event,
        device_id: notice.device,
        card_id: notice.card,
        name: notice.name.clone(),
        platform: notice.platform,
        ago_s: now.millis_since(notice.at) / 1000,
        count: notice.held.map(|held| held.count),
        since_s: notice.held.map(|held| now.millis_since(held.since) / 1000),
    }))
}
