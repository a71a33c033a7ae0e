//! Telling a user's devices what became of the others and of the user's cards. The news stand in
//! the store with the user, so that a phone that was away hears them when it connects; which it has
//! seen is its own to know, by their ids.

use fido_relay_proto::device::{Notice as NoticeFrame, NoticeEvent};
use fido_relay_proto::{RelayFrame, TenantId, UnixMillis, Username};

use super::Relay;
use super::connection::Connection;
use crate::app::devices::{self, Device, DeviceNotice, TOLD_FOR_S, UserKey};
use crate::core::ceremony::Request;
use crate::core::prompt_limits::Held;
use crate::ports::Notice;

impl Relay {
    /// Tells the user's devices on this node.
    pub(super) async fn tell_news(&self, tenant: &TenantId, username: &Username) {
        self.node.pullers.wake(&UserKey::new(tenant, username));
        if self.registry().is_empty() {
            return;
        }
        let store = &*self.dependencies().store;
        let told = async {
            for id in devices::of_user(store, tenant, username).await? {
                let Some(connection) = self.registry().get(id) else { continue };
                if let Some(device) = devices::load(store, tenant, id).await? {
                    let news = devices::news(store, tenant, username).await?;
                    self.tell(&device, &news, &connection);
                }
            }
            Ok::<(), crate::ports::StoreError>(())
        };
        if let Err(error) = told.await {
            // They are told when they connect again.
            tracing::warn!(%error, "devices could not be told the news");
        }
    }

    /// Tells one device on one socket what concerns it and was not told there yet.
    pub(super) fn tell(&self, device: &Device, news: &[DeviceNotice], connection: &Connection) {
        let now = self.dependencies().clock.now();
        connection.tell(frames(device, news, now));
    }
}

impl Relay {
    /// Tells the user's devices of prompts that were held back, in a task of its own: the opener must
    /// not be able to tell by the time that it takes.
    pub(super) fn tell_held(&self, request: &Request, held: Held) {
        let relay = self.clone();
        let (tenant, username) = (request.tenant.clone(), request.username.clone());
        self.dependencies().tasks.spawn_untraced(async move {
            let (store, now) = (&*relay.dependencies().store, relay.dependencies().clock.now());
            match devices::tell_held(store, &tenant, &username, held, now).await {
                Ok(true) => relay.dependencies().bus.publish(Notice::News(tenant, username)).await,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "devices do not hear of held prompts"),
            }
        });
    }
}

/// The news that concern a device, each with its number.
pub(super) fn frames<'a>(
    device: &'a Device,
    news: &'a [DeviceNotice],
    now: UnixMillis,
) -> impl Iterator<Item = (u64, RelayFrame)> + 'a {
    let concerning = news.iter().filter(move |news| concerns(news, device, now));
    concerning.map(move |news| (news.seq, frame(news, now)))
}

/// What a device hears of itself: that its push address was forgotten, until it has set another.
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
fn concerns(news: &DeviceNotice, device: &Device, now: UnixMillis) -> bool {
    news.device != Some(device.id)
        && device.paired_at <= news.at
        && now < news.at.plus_secs(TOLD_FOR_S)
}

fn frame(news: &DeviceNotice, now: UnixMillis) -> RelayFrame {
    RelayFrame::Notice(Box::new(NoticeFrame {
        notice_id: news.id,
        event: news.event,
        device_id: news.device,
        card_id: news.card,
        name: news.name.clone(),
        platform: news.platform,
        ago_s: now.millis_since(news.at) / 1000,
        count: news.held.map(|held| held.count),
        since_s: news.held.map(|held| now.millis_since(held.since) / 1000),
    }))
}
