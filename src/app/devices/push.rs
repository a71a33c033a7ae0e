//! The address by which a device is woken: set and removed by the device itself, and forgotten once
//! its push service no longer knows it. An address belongs to one device: a record under its hash
//! says to which, and setting it takes it from the device that had it. It knows no push service.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::device::NoticeEvent;
use fido_relay_proto::http::{PushService, PushTarget};
use fido_relay_proto::{DeviceId, NoticeId, TenantId, UnixMillis, WireName};
use serde::{Deserialize, Serialize};

use super::record::{Device, find, notice_id, put};
use crate::app::{App, RACES, committed};
use crate::ports::{
    Batch, Bucket, PushLoss, Record, Revision, SecurityEvent, SecurityEventKind, Store, StoreError,
    Unpushable, records,
};

/// Whose an address is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Holder {
    device: DeviceId,
}

impl Record for Holder {}

/// Why an address was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetPushError {
    /// No push service is configured.
    #[error("no push service is configured")]
    NotSupported,
    /// It is no address that may be set.
    #[error(transparent)]
    Unpushable(#[from] Unpushable),
    /// The device was revoked meanwhile.
    #[error("no such device")]
    NotFound,
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Gives a device another address, or takes the one that it has. The same again changes nothing.
///
/// # Errors
/// [`SetPushError`].
pub async fn set_push(
    app: &App,
    tenant: &TenantId,
    id: DeviceId,
    target: Option<PushTarget>,
) -> Result<(), SetPushError> {
    // Without a service an address can still be removed.
    if let Some(target) = &target {
        app.push.as_ref().ok_or(SetPushError::NotSupported)?.permits(target)?;
    }
    let store = &*app.store;
    for _ in 0..RACES {
        let found = find(store, tenant, id).await?;
        let (mut device, revision) = found.ok_or(SetPushError::NotFound)?;
        let is_held = match &target {
            Some(target) => holder(store, tenant, target).await?.0 == Some(id),
            None => true,
        };
        if is_held && device.push == target && device.push_removed.is_none() {
            return Ok(());
        }
        let now = app.clock.now();
        let before = std::mem::replace(&mut device.push, target.clone());
        device.push_removed = None;
        let mut batch = put(Batch::new(), &device, revision)?;
        if let Some(before) = &before
            && target.as_ref().is_none_or(|target| key(tenant, target) != key(tenant, before))
        {
            batch = free(store, batch, &device, before).await?;
        }
        batch = match (&target, &before) {
            (Some(target), _) => take(store, batch, &device, target, now).await?,
            (None, Some(_)) => batch.entry(lost(&device, PushLoss::Asked, now)),
            (None, None) => batch,
        };
        if app.commit(batch).await? {
            tracing::info!(device = %id, removed = target.is_none(), "push address changed");
            return Ok(());
        }
    }
    Err(StoreError::too_many_races().into())
}

/// Forgets an address that its service no longer knows, unless the device has set another since.
/// Whether it was forgotten.
///
/// # Errors
/// The store's.
pub async fn forget_push(
    store: &dyn Store,
    tenant: &TenantId,
    id: DeviceId,
    target: &PushTarget,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    for _ in 0..RACES {
        let Some((mut device, revision)) = find(store, tenant, id).await? else { return Ok(false) };
        if device.push.as_ref() != Some(target) {
            return Ok(false);
        }
        device.push = None;
        device.push_removed = Some(now);
        let batch = put(Batch::new(), &device, revision)?;
        let batch = free(store, batch, &device, target).await?;
        if committed(store, batch.entry(lost(&device, PushLoss::Gone, now))).await? {
            return Ok(true);
        }
    }
    Err(StoreError::too_many_races())
}

impl Device {
    /// The notice that its address was forgotten: its name, and since when. None: it has one, or
    /// never had.
    #[must_use]
    pub fn push_notice(&self) -> Option<(NoticeId, UnixMillis)> {
        let at = self.push_removed?;
        Some((
            notice_id(&format!("{} {} {}", WireName(NoticeEvent::PushRemoved), self.id, at.0)),
            at,
        ))
    }
}

/// Adds to a batch that an address is this device's, whose record the batch has already, and that
/// it is no more that of the device that had it.
pub(super) async fn take(
    store: &dyn Store,
    batch: Batch,
    device: &Device,
    target: &PushTarget,
    at: UnixMillis,
) -> Result<Batch, StoreError> {
    let tenant = &device.tenant;
    let (holder, revision) = holder(store, tenant, target).await?;
    let (place, now) = (key(tenant, target), Holder { device: device.id });
    let mut batch = records::put(batch, Bucket::PushAddresses, &place, revision, &now)?;
    if let Some(other) = holder.filter(|holder| *holder != device.id)
        && let Some((mut other, revision)) = find(store, tenant, other).await?
        && other.push.as_ref().is_some_and(|push| key(tenant, push) == place)
    {
        other.push = None;
        other.push_removed = Some(at);
        batch = put(batch, &other, revision)?.entry(lost(&other, PushLoss::Moved, at));
    }
    let (device_id, username) = (device.id, device.username.clone());
    let what = SecurityEventKind::PushSet { device_id, username, service: target.service };
    Ok(batch.entry(SecurityEvent::new(tenant.clone(), at, what).entry()))
}

/// Adds to a batch that an address is this device's no more, if it was.
pub(super) async fn free(
    store: &dyn Store,
    batch: Batch,
    device: &Device,
    target: &PushTarget,
) -> Result<Batch, StoreError> {
    match holder(store, &device.tenant, target).await? {
        (Some(holder), revision) if holder == device.id => {
            Ok(batch.remove(Bucket::PushAddresses, &key(&device.tenant, target), revision))
        }
        (Some(_) | None, _) => Ok(batch),
    }
}

async fn holder(
    store: &dyn Store,
    tenant: &TenantId,
    target: &PushTarget,
) -> Result<(Option<DeviceId>, Revision), StoreError> {
    let place = key(tenant, target);
    let found = records::load::<Holder>(store, Bucket::PushAddresses, &place).await?;
    Ok(found.map_or((None, Revision::ABSENT), |(holder, at)| (Some(holder.device), at)))
}

/// An address's key in the store, which does not show it.
fn key(tenant: &TenantId, target: &PushTarget) -> String {
    let PushTarget { service, token, .. } = target;
    // Apple's tokens are hexadecimal, in either case the same.
    let token = match service {
        PushService::Apns => token.as_str().to_ascii_lowercase(),
        PushService::Fcm | PushService::Webpush => token.as_str().to_owned(),
    };
    let named = format!("{}\n{token}", service.as_str());
    format!("{tenant}.{}", URL_SAFE_NO_PAD.encode(digest(&SHA256, named.as_bytes())))
}

fn lost(device: &Device, why: PushLoss, at: UnixMillis) -> String {
    let (device_id, username) = (device.id, device.username.clone());
    let what = SecurityEventKind::PushRemoved { device_id, username, why };
    SecurityEvent::new(device.tenant.clone(), at, what).entry()
}

#[cfg(test)]
mod tests;
