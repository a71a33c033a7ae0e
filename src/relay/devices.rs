//! The paired phones: who they belong to, what key they sign with. Durable records only; which of
//! them hold a socket is [`super::registry`]'s business.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::http::{P256Jwk, Platform, PushTarget};
use fido_relay_proto::{DeviceId, PlainText, TenantId, UnixMillis, Username};
use serde::{Deserialize, Serialize};

use crate::ports::{Bucket, Revision, Store, StoreError, records};

/// Phones of one user at most: more is a sign of something else than a lost phone.
pub const DEVICES_PER_USER: usize = 5;

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
}

/// Why a device was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyDevices;

fn key(tenant: &TenantId, id: DeviceId) -> String {
    format!("{tenant}.{id}")
}

/// Stores a new device: its own record first, so that the user's list never names a device that
/// is not there.
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
    let listed = records::update(store, Bucket::Users, user.as_str(), |user: &mut User| {
        if user.devices.len() >= DEVICES_PER_USER {
            return Err(TooManyDevices);
        }
        user.devices.push(device.id);
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

/// Revokes a device for good; tells whether there was one.
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
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}
