//! The paired phones as they are stored: who they belong to, what key they sign with, and what a
//! user's other devices are still to hear.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::device::NoticeEvent;
use fido_relay_proto::http::{P256Jwk, Platform, PushTarget};
use fido_relay_proto::{
    CardId, DeviceId, NoticeId, PlainText, TenantId, UnixMillis, Username, WireName,
};
use serde::{Deserialize, Deserializer, Serialize};

use crate::app::newest_in;
use crate::core::prompt_limits::{CodeAttempts, SuppressedPrompts};
use crate::ports::{Batch, Bucket, Record, Revision, Store, StoreError, records};
use crate::security::random;

/// How long a notice is kept for the user's devices, in seconds: an app opened once a week gets it.
pub const TOLD_FOR_S: u64 = 7 * 24 * 60 * 60;
/// DeviceNotice of a user's devices and cards that are kept: one for each device and a few rotations.
const NEWS_PER_USER: usize = 8;

/// One installation of the mobile app.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Device {
    /// The device.
    pub id: DeviceId,
    /// Its relying party.
    pub tenant: TenantId,
    /// Its user.
    pub username: Username,
    /// The device key's public half.
    pub jwk: P256Jwk,
    /// The person's name of the device.
    pub name: Option<PlainText<64>>,
    /// Its operating system.
    pub platform: Platform,
    /// How to wake it. A form that this version does not know, as an earlier one took any, is none.
    #[serde(default, deserialize_with = "known_push")]
    pub push: Option<PushTarget>,
    /// When its push service was found not to know its address any more, until it sets another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_removed: Option<UnixMillis>,
    /// When it was paired.
    pub paired_at: UnixMillis,
    /// When it was revoked; a revoked device never comes back, it pairs anew.
    pub revoked_at: Option<UnixMillis>,
    /// How it came to its key, if that is not the one that it was paired with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<Rotated>,
    /// Wrong codes that were typed on it.
    #[serde(default, skip_serializing_if = "CodeAttempts::is_empty")]
    pub tries: CodeAttempts,
}

impl Record for Device {}

fn known_push<'de, D: Deserializer<'de>>(stored: D) -> Result<Option<PushTarget>, D::Error> {
    let stored = Option::<serde_json::Value>::deserialize(stored)?;
    Ok(stored.and_then(|stored| serde_json::from_value(stored).ok()))
}

/// A change of a device's key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rotated {
    /// The key before. It authenticates nothing; with it alone a repeated request is recognised.
    pub from: P256Jwk,
    /// What the device's proof said, in seconds by the phone's clock: the next one must be later.
    pub iat: u64,
    /// When, by the relay's clock.
    pub at: UnixMillis,
}

/// Something about a device or a card that the user's other devices are told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceNotice {
    /// Counts the user's news.
    pub seq: u64,
    /// Which notice.
    pub id: NoticeId,
    /// What happened.
    pub event: NoticeEvent,
    /// To which device; none: to a card.
    pub device: Option<DeviceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardId>,
    /// The person's name of the device.
    pub name: Option<PlainText<64>>,
    /// The device's operating system.
    pub platform: Option<Platform>,
    /// Prompts that were held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<SuppressedPrompts>,
    /// When.
    pub at: UnixMillis,
}

/// A user's key in the store: names may hold any character, keys may not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserKey(String);

impl UserKey {
    /// The key of this user of this tenant.
    #[must_use]
    pub fn new(tenant: &TenantId, username: &Username) -> Self {
        let hash = digest(&SHA256, username.as_str().as_bytes());
        Self(format!("{tenant}.{}", URL_SAFE_NO_PAD.encode(hash)))
    }

    /// As a record's key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What belongs to a user.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) devices: Vec<DeviceId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    news: Vec<DeviceNotice>,
    /// DeviceNotice so far, those that are forgotten included.
    #[serde(default)]
    told: u64,
}

impl Record for User {}

impl User {
    /// Adds news, numbered, if there is a device to tell that they are not about, and they are not
    /// there yet. Says whether they were added.
    pub(super) fn note(&mut self, news: DeviceNotice) -> bool {
        let lonely = self.devices.iter().all(|listed| Some(*listed) == news.device);
        if lonely || self.news.iter().any(|known| known.id == news.id) {
            return false;
        }
        // However often prompts are held back or unlocked, that pushes out no other news.
        let of_user = |news: &DeviceNotice| news.device.is_none() && news.card.is_none();
        let is_newer = |known: &DeviceNotice| of_user(known) && known.event == news.event;
        self.news.retain(|known| news.at < known.at.plus_secs(TOLD_FOR_S) && !is_newer(known));
        if self.news.len() >= NEWS_PER_USER {
            self.news.remove(0);
        }
        self.told += 1;
        self.news.push(DeviceNotice { seq: self.told, ..news });
        true
    }
}

impl DeviceNotice {
    /// DeviceNotice of a device, not numbered yet.
    pub(super) fn of_device(
        device: &Device,
        event: NoticeEvent,
        id: NoticeId,
        at: UnixMillis,
    ) -> Self {
        let (name, platform) = (device.name.clone(), Some(device.platform));
        let (card, held) = (None, None);
        Self { seq: 0, id, event, device: Some(device.id), card, name, platform, held, at }
    }

    /// DeviceNotice of a card, not numbered yet.
    pub(super) fn of_card(event: NoticeEvent, card: CardId, at: UnixMillis) -> Self {
        let id = notice_id(&format!("{} {card}", WireName(event)));
        Self { id, card: Some(card), ..Self::of_user(event, at) }
    }

    /// DeviceNotice of the user's prompts, not numbered yet.
    pub(super) fn of_prompts(held: SuppressedPrompts, at: UnixMillis) -> Self {
        Self { held: Some(held), ..Self::of_user(NoticeEvent::PromptsHeld, at) }
    }

    /// DeviceNotice that concern all of a user's devices, not numbered yet.
    pub(super) fn of_user(event: NoticeEvent, at: UnixMillis) -> Self {
        let id = NoticeId::from_bytes(random::bytes());
        let (device, card, name, platform, held) = (None, None, None, None, None);
        Self { seq: 0, id, event, device, card, name, platform, held, at }
    }
}

/// Named after what happened, so that the same is the same news.
pub(super) fn notice_id(of: &str) -> NoticeId {
    let mut id = [0; 16];
    id.copy_from_slice(&digest(&SHA256, of.as_bytes()).as_ref()[..16]);
    NoticeId::from_bytes(id)
}

/// A device's key in the store.
fn key(tenant: &TenantId, id: DeviceId) -> String {
    format!("{tenant}.{id}")
}

/// A device that is paired and not revoked.
///
/// # Errors
/// The store's.
pub async fn load(
    store: &dyn Store,
    tenant: &TenantId,
    id: DeviceId,
) -> Result<Option<Device>, StoreError> {
    Ok(find(store, tenant, id).await?.map(|(device, _)| device))
}

/// The ids of a user's devices, oldest first.
///
/// # Errors
/// The store's.
pub async fn of_user(
    store: &dyn Store,
    tenant: &TenantId,
    username: &Username,
) -> Result<Vec<DeviceId>, StoreError> {
    Ok(Listed::load(store, tenant, username).await?.user.devices)
}

/// The latest news of a user's devices, oldest first.
///
/// # Errors
/// The store's.
pub async fn notices_of_user(
    store: &dyn Store,
    tenant: &TenantId,
    username: &Username,
) -> Result<Vec<DeviceNotice>, StoreError> {
    Ok(Listed::load(store, tenant, username).await?.user.news)
}

/// A device that is paired and not revoked, with its revision.
///
/// # Errors
/// The store's.
pub async fn find(
    store: &dyn Store,
    tenant: &TenantId,
    id: DeviceId,
) -> Result<Option<(Device, Revision)>, StoreError> {
    let found = records::load::<Device>(store, Bucket::Devices, &key(tenant, id)).await?;
    Ok(found.filter(|(device, _)| device.revoked_at.is_none()))
}

/// The latest time in any stored device.
pub async fn newest_time(store: &dyn Store) -> Result<Option<UnixMillis>, StoreError> {
    let time = |device: Device| device.revoked_at.max(Some(device.paired_at));
    newest_in(store, Bucket::Devices, time).await
}

/// What belongs to a user, to be changed in a batch.
pub(super) struct Listed {
    key: UserKey,
    pub(super) user: User,
    revision: Revision,
}

impl Listed {
    pub(super) async fn load(
        store: &dyn Store,
        tenant: &TenantId,
        username: &Username,
    ) -> Result<Self, StoreError> {
        let key = UserKey::new(tenant, username);
        let found = records::load(store, Bucket::Users, key.as_str()).await?;
        let (user, revision) = found.unwrap_or((User::default(), Revision::ABSENT));
        Ok(Self { key, user, revision })
    }

    pub(super) fn put(&self, batch: Batch) -> Result<Batch, StoreError> {
        records::put(batch, Bucket::Users, self.key.as_str(), self.revision, &self.user)
    }
}

/// Adds a device's new value to a batch.
///
/// # Errors
/// The store's.
pub fn put(batch: Batch, device: &Device, expected: Revision) -> Result<Batch, StoreError> {
    let key = key(&device.tenant, device.id);
    records::put(batch, Bucket::Devices, &key, expected, device)
}
