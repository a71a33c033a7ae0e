//! The paired phones: who they belong to, what key they sign with. Durable records only; which of
//! them hold a socket is [`super::registry`]'s business.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::device::NoticeEvent;
use fido_relay_proto::http::{P256Jwk, Platform, PushTarget};
use fido_relay_proto::{
    CardId, DeviceId, NoticeId, PlainText, TenantId, UnixMillis, Username, WireName,
};
use serde::{Deserialize, Serialize};

use super::news::TOLD_FOR_S;
use crate::ports::{Bucket, Record, Revision, Store, StoreError, records};
use crate::security::random;

/// Phones of one user at most: more is a sign of something else than a lost phone.
pub const DEVICES_PER_USER: usize = 5;
/// News of a user's devices and cards that are kept: one for each device and a few rotations.
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
    /// What the person calls it.
    pub name: Option<PlainText<64>>,
    /// Its operating system.
    pub platform: Platform,
    /// How to wake it.
    pub push: Option<PushTarget>,
    /// When it was paired.
    pub paired_at: UnixMillis,
    /// When it was revoked; a revoked device never comes back, it pairs anew.
    pub revoked_at: Option<UnixMillis>,
    /// How it came to its key, if that is not the one that it was paired with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<Rotated>,
}

impl Record for Device {}

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
pub struct News {
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
    /// What the person called the device.
    pub name: Option<PlainText<64>>,
    /// The device's operating system.
    pub platform: Option<Platform>,
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
struct User {
    devices: Vec<DeviceId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    news: Vec<News>,
    /// News so far, those that are forgotten included.
    #[serde(default)]
    told: u64,
}

impl Record for User {}

impl User {
    /// Adds news, numbered, if there is a device to tell that they are not about, and they are not
    /// there yet. Says whether they were added.
    fn note(&mut self, news: News) -> bool {
        let lonely = self.devices.iter().all(|listed| Some(*listed) == news.device);
        if lonely || self.news.iter().any(|known| known.id == news.id) {
            return false;
        }
        self.news.retain(|known| news.at < known.at.plus_secs(TOLD_FOR_S));
        if self.news.len() >= NEWS_PER_USER {
            self.news.remove(0);
        }
        self.told += 1;
        self.news.push(News { seq: self.told, ..news });
        true
    }
}

impl News {
    /// News of a device, not numbered yet.
    fn of_device(device: &Device, event: NoticeEvent, id: NoticeId, at: UnixMillis) -> Self {
        let (name, platform) = (device.name.clone(), Some(device.platform));
        Self { seq: 0, id, event, device: Some(device.id), card: None, name, platform, at }
    }
}

/// Named after what happened, so that the same is the same news.
fn notice_id(of: &str) -> NoticeId {
    let mut id = [0; 16];
    id.copy_from_slice(&digest(&SHA256, of.as_bytes()).as_ref()[..16]);
    NoticeId::from_bytes(id)
}

/// Why a device was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyDevices;

fn key(tenant: &TenantId, id: DeviceId) -> String {
    format!("{tenant}.{id}")
}

/// Stores a new device: its own record first, so that the user's list never names a device that
/// is not there. The user's others have news of it.
///
/// # Errors
/// [`TooManyDevices`] inside, the store's outside.
pub async fn add(
    store: &dyn Store,
    device: &Device,
) -> Result<Result<(), TooManyDevices>, StoreError> {
    let key = key(&device.tenant, device.id);
    let revision = records::save(store, Bucket::Devices, &key, Revision::ABSENT, device).await?;
    let user = UserKey::new(&device.tenant, &device.username);
    let notice = NoticeId::from_bytes(random::bytes());
    let listed = records::update(store, Bucket::Users, user.as_str(), |user: &mut User| {
        if user.devices.len() >= DEVICES_PER_USER {
            return Err(TooManyDevices);
        }
        user.devices.push(device.id);
        user.note(News::of_device(device, NoticeEvent::DevicePaired, notice, device.paired_at));
        Ok(())
    })
    .await?;
    if listed.is_err() {
        store.remove(Bucket::Devices, &key, revision).await?;
    }
    Ok(listed)
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
    let found = records::load::<Device>(store, Bucket::Devices, &key(tenant, id)).await?;
    Ok(found.map(|(device, _)| device).filter(|device| device.revoked_at.is_none()))
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
    let user = UserKey::new(tenant, username);
    let found = records::load::<User>(store, Bucket::Users, user.as_str()).await?;
    Ok(found.map(|(user, _)| user.devices).unwrap_or_default())
}

/// The latest news of a user's devices, oldest first.
///
/// # Errors
/// The store's.
pub async fn news(
    store: &dyn Store,
    tenant: &TenantId,
    username: &Username,
) -> Result<Vec<News>, StoreError> {
    let user = UserKey::new(tenant, username);
    let found = records::load::<User>(store, Bucket::Users, user.as_str()).await?;
    Ok(found.map(|(user, _)| user.news).unwrap_or_default())
}

/// Changes a device that is paired and not revoked; gives it as it then stands, or none. `change`
/// may be called several times; if it changes nothing it says so, and nothing is written.
///
/// # Errors
/// The store's.
pub async fn change(
    store: &dyn Store,
    tenant: &TenantId,
    id: DeviceId,
    mut change: impl FnMut(&mut Device) -> Changed + Send,
) -> Result<Option<Device>, StoreError> {
    let key = key(tenant, id);
    loop {
        let found = records::load::<Device>(store, Bucket::Devices, &key).await?;
        let Some((mut device, revision)) = found.filter(|(device, _)| device.revoked_at.is_none())
        else {
            return Ok(None);
        };
        match change(&mut device) {
            Changed::No => return Ok(Some(device)),
            Changed::Yes => {}
        }
        match records::save(store, Bucket::Devices, &key, revision, &device).await {
            Ok(_) => return Ok(Some(device)),
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether [`change`] has something to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It has.
    Yes,
    /// It has not.
    No,
}

/// The user's other devices have news of this one's new key. Twice is once.
///
/// # Errors
/// The store's.
pub async fn note_rotation(store: &dyn Store, device: &Device) -> Result<(), StoreError> {
    let Some(rotated) = &device.rotated else { return Ok(()) };
    let user = UserKey::new(&device.tenant, &device.username);
    let id = notice_id(&format!("{} {}", device.id, device.jwk.x));
    let note = |user: &mut User| {
        user.note(News::of_device(device, NoticeEvent::DeviceKeyRotated, id, rotated.at));
        Ok::<(), std::convert::Infallible>(())
    };
    let Ok(()) = records::update(store, Bucket::Users, user.as_str(), note).await?;
    Ok(())
}

/// The user's devices have news of a card; says whether there are devices. Twice is once.
///
/// # Errors
/// The store's.
pub(super) async fn note_card(
    store: &dyn Store,
    tenant: &TenantId,
    username: &Username,
    (event, card): (NoticeEvent, CardId),
    at: UnixMillis,
) -> Result<bool, StoreError> {
    let id = notice_id(&format!("{} {card}", WireName(event)));
    let (device, name, platform) = (None, None, None);
    let news = News { seq: 0, id, event, device, card: Some(card), name, platform, at };
    let note = |user: &mut User| if user.note(news.clone()) { Ok(()) } else { Err(()) };
    let user = UserKey::new(tenant, username);
    Ok(records::update(store, Bucket::Users, user.as_str(), note).await?.is_ok())
}

/// Revokes a device for good; tells whether there was one. It belongs in the list of revocations
/// first ([`super::Relay::revoke`]).
///
/// # Errors
/// The store's.
pub async fn revoke(
    store: &dyn Store,
    tenant: &TenantId,
    id: DeviceId,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let key = key(tenant, id);
    loop {
        let Some((mut device, revision)) =
            records::load::<Device>(store, Bucket::Devices, &key).await?
        else {
            return Ok(false);
        };
        if device.revoked_at.is_some() {
            return Ok(false);
        }
        device.revoked_at = Some(now);
        match records::save(store, Bucket::Devices, &key, revision, &device).await {
            Ok(_) => {
                let user = UserKey::new(tenant, &device.username);
                let forget = |user: &mut User| {
                    user.devices.retain(|listed| *listed != id);
                    Ok::<(), std::convert::Infallible>(())
                };
                let Ok(()) = records::update(store, Bucket::Users, user.as_str(), forget).await?;
                return Ok(true);
            }
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
}
