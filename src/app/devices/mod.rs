//! The paired phones: what changes them, each time together with what their user's other devices
//! hear of it and with the entry of the journal. Which of them hold a socket is the relay's business.

mod authentication;
mod push;
mod record;

use fido_relay_proto::device::{KeyClaims, NoticeEvent};
use fido_relay_proto::http::RotateDeviceKey;
use fido_relay_proto::{DeviceId, NoticeId, PlainText, TenantId, UnixMillis, Username, WireName};

pub use self::authentication::{Unproven, authenticate};
pub use self::push::{SetPushError, forget_push, set_push};
pub use self::record::{
    Device, DeviceNotice, Rotated, TOLD_FOR_S, UserKey, find, load, newest_time, notices_of_user,
    of_user, put,
};

use self::record::{Listed, notice_id};
use super::clients::Client;
use super::{Actor, App, RACES, RevokeError, committed};
use crate::core::prompt_limits::SuppressedPrompts;
use crate::ports::{
    Batch, Notice, Revision, Revocation, Revoked, SecurityEvent, SecurityEventKind, Store,
    StoreError,
};
use crate::security::{device_proof, random};

/// Phones of one user at most: more is a sign of something else than a lost phone.
pub const DEVICES_PER_USER: usize = 5;
/// How far a proof's `iat` may be from the relay's clock, in seconds. Answers carry `Date`, by
/// which an app whose clock is wrong can sign again.
const FRESH_S: u64 = 300;

/// Why a device was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyDevices;

/// Adds a new device to a batch, with its place in the user's list, its push address and the news.
///
/// # Errors
/// [`TooManyDevices`] inside, the store's outside.
pub async fn add(
    store: &dyn Store,
    batch: Batch,
    device: &Device,
) -> Result<Result<Batch, TooManyDevices>, StoreError> {
    let mut listed = Listed::load(store, &device.tenant, &device.username).await?;
    if listed.user.devices.len() >= DEVICES_PER_USER {
        return Ok(Err(TooManyDevices));
    }
    listed.user.devices.push(device.id);
    let (id, at) = (NoticeId::from_bytes(random::bytes()), device.paired_at);
    listed.user.note(DeviceNotice::of_device(device, NoticeEvent::DevicePaired, id, at));
    let mut batch = listed.put(put(batch, device, Revision::ABSENT)?)?;
    if let Some(target) = &device.push {
        batch = push::take(store, batch, device, target, at).await?;
    }
    Ok(Ok(batch))
}

/// Adds to a batch what a card that was registered or removed means for its user's devices: they
/// have news of it. Twice is once. Another event adds nothing.
///
/// # Errors
/// The store's.
pub async fn with_card_notice(
    store: &dyn Store,
    batch: Batch,
    event: &SecurityEvent,
) -> Result<Batch, StoreError> {
    let (notice, card, username) =
        if let SecurityEventKind::CardRegistered { card_id, username } = &event.what {
            (NoticeEvent::CardRegistered, *card_id, username)
        } else if let SecurityEventKind::CardRemoved { card_id, username, .. } = &event.what {
            (NoticeEvent::CardRemoved, *card_id, username)
        } else {
            return Ok(batch);
        };
    let mut listed = Listed::load(store, &event.tenant, username).await?;
    if listed.user.note(DeviceNotice::of_card(notice, card, event.at)) {
        listed.put(batch)
    } else {
        Ok(batch)
    }
}

/// Adds to a batch what concerns all of a user's devices: they have news of it.
///
/// # Errors
/// The store's.
pub(super) async fn with_user_notice(
    store: &dyn Store,
    batch: Batch,
    (tenant, username): (&TenantId, &Username),
    event: NoticeEvent,
    at: UnixMillis,
) -> Result<Batch, StoreError> {
    let mut listed = Listed::load(store, tenant, username).await?;
    if listed.user.note(DeviceNotice::of_user(event, at)) { listed.put(batch) } else { Ok(batch) }
}

/// Gives a user's devices news of prompts that were held back; says whether there is a device.
///
/// # Errors
/// The store's.
pub async fn notify_suppressed(
    store: &dyn Store,
    tenant: &TenantId,
    username: &Username,
    held: SuppressedPrompts,
    at: UnixMillis,
) -> Result<bool, StoreError> {
    for _ in 0..RACES {
        let mut listed = Listed::load(store, tenant, username).await?;
        if !listed.user.note(DeviceNotice::of_prompts(held, at)) {
            return Ok(false);
        }
        match store.commit(listed.put(Batch::new())?).await {
            Ok(_) => return Ok(true),
            Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::too_many_races())
}

/// Whether a device is paired and not revoked.
pub async fn is_paired(app: &App, tenant: &TenantId, id: DeviceId) -> Result<bool, StoreError> {
    Ok(load(&*app.store, tenant, id).await?.is_some())
}

/// A user's devices, oldest first.
///
/// # Errors
/// The store's.
pub async fn list(
    app: &App,
    tenant: &TenantId,
    username: &Username,
) -> Result<Vec<Device>, StoreError> {
    let mut devices = Vec::new();
    for id in of_user(&*app.store, tenant, username).await? {
        devices.extend(load(&*app.store, tenant, id).await?);
    }
    Ok(devices)
}

/// Gives a device another name; the device as it then is, or none. The name that it has is no change.
///
/// # Errors
/// The store's.
pub async fn rename(
    app: &App,
    by: &Client,
    id: DeviceId,
    name: PlainText<64>,
) -> Result<Option<Device>, StoreError> {
    let name = Some(name);
    for _ in 0..RACES {
        let Some((mut device, revision)) = find(&*app.store, &by.tenant, id).await? else {
            return Ok(None);
        };
        if device.name == name {
            return Ok(Some(device));
        }
        device.name.clone_from(&name);
        let username = device.username.clone();
        let what = SecurityEventKind::DeviceRenamed { device_id: id, username, client_id: by.id };
        let event = SecurityEvent::new(by.tenant.clone(), app.clock.now(), what);
        let batch = put(Batch::new(), &device, revision)?.entry(event.entry());
        if app.commit(batch).await? {
            tracing::info!(device = %id, "device renamed");
            return Ok(Some(device));
        }
    }
    Err(StoreError::too_many_races())
}

/// What a request for a new key comes to, held against the device as it is stored.
enum Handover {
    /// The device's key hands over to the new one.
    New(KeyClaims),
    /// It has done so before: the same again.
    Done,
    Refused,
}

/// Gives a device the key that its old one hands over to; none: refused. `audiences` are the URLs
/// that the proofs may name. A repeated request is answered as the first was.
///
/// # Errors
/// The store's.
pub async fn rotate_key(
    app: &App,
    tenant: &TenantId,
    order: &RotateDeviceKey,
    audiences: &[String],
) -> Result<Option<Device>, StoreError> {
    let Ok(claimed) = device_proof::claimed_rotation(&order.old_proof) else { return Ok(None) };
    let now = app.clock.now();
    for _ in 0..RACES {
        let found = find(&*app.store, tenant, claimed.device_id).await?;
        let Some((mut device, revision)) = found else { return Ok(None) };
        let claims = match handover(&device, order, audiences, now) {
            Handover::New(claims) => claims,
            Handover::Done => return Ok(Some(device)),
            Handover::Refused => return Ok(None),
        };
        let from = std::mem::replace(&mut device.jwk, order.new_jwk.clone());
        device.rotated = Some(Rotated { from, iat: claims.iat, at: now });
        let id = notice_id(&format!("{} {}", device.id, device.jwk.x));
        let mut listed = Listed::load(&*app.store, tenant, &device.username).await?;
        let mut batch = put(Batch::new(), &device, revision)?;
        if listed.user.note(DeviceNotice::of_device(
            &device,
            NoticeEvent::DeviceKeyRotated,
            id,
            now,
        )) {
            batch = listed.put(batch)?;
        }
        let (device_id, username) = (device.id, device.username.clone());
        let what = SecurityEventKind::DeviceKeyRotated { device_id, username: username.clone() };
        let batch = batch.entry(SecurityEvent::new(tenant.clone(), now, what).entry());
        if app.commit(batch).await? {
            tracing::info!(device = %device.id, "device key rotated");
            app.bus.publish(Notice::Rekeyed(device.id)).await;
            app.bus.publish(Notice::News(tenant.clone(), username)).await;
            return Ok(Some(device));
        }
    }
    Err(StoreError::too_many_races())
}

fn handover(
    device: &Device,
    order: &RotateDeviceKey,
    audiences: &[String],
    now: UnixMillis,
) -> Handover {
    let proofs = (order.old_proof.as_str(), order.new_proof.as_str());
    let by = |old| device_proof::verify_rotation(proofs, (old, &order.new_jwk), audiences);
    if let Ok(claims) = by(&device.jwk) {
        let fresh = claims.iat.abs_diff(now.as_secs()) <= FRESH_S;
        // A request that was used before the last one must not be used again.
        let newer = device.rotated.as_ref().is_none_or(|last| claims.iat > last.iat);
        return if fresh && newer { Handover::New(claims) } else { Handover::Refused };
    }
    match &device.rotated {
        Some(last) if order.new_jwk == device.jwk && by(&last.from).is_ok() => Handover::Done,
        Some(_) | None => Handover::Refused,
    }
}

/// Revokes a device for good and gives it as it was. The list of revocations comes first, so that a
/// store which is put back to an earlier state does not bring the device back. Once begun it runs to
/// its end, whatever becomes of the caller.
///
/// # Errors
/// [`RevokeError::NotFound`] also for a device that was revoked before.
pub async fn revoke(app: &App, actor: &Actor, id: DeviceId) -> Result<Device, RevokeError> {
    let (app, actor) = (app.clone(), actor.clone());
    let tasks = app.tasks.clone();
    let revoked = tasks.run_detached(async move { revoke_now(&app, &actor, id).await });
    revoked.await.unwrap_or_else(|| Err(ended_early().into()))
}

async fn revoke_now(app: &App, actor: &Actor, id: DeviceId) -> Result<Device, RevokeError> {
    let at = app.clock.now();
    let tenant = &actor.tenant;
    if load(&*app.store, tenant, id).await?.is_none() {
        return Err(RevokeError::NotFound);
    }
    let what = Revoked::Device(id);
    app.revocations.record(Revocation { tenant: tenant.clone(), what, at }).await?;
    let event = |device: &Device| {
        let (username, client_id) = (device.username.clone(), actor.client_id());
        Some(
            actor
                .event(at, SecurityEventKind::DeviceRevoked { device_id: id, username, client_id }),
        )
    };
    let revoked = revoke_listed(&*app.store, tenant, id, at, event).await;
    app.bus.publish(Notice::Revoked(id)).await;
    let device = revoked?.ok_or(RevokeError::NotFound)?;
    app.bus.publish(Notice::News(tenant.clone(), device.username.clone())).await;
    tracing::info!(device = %id, "device revoked");
    Ok(device)
}

/// Brings the store to what the list of revocations says of a device, if it is not there yet: the
/// device, its push address and the user's list, the others' news of it, with the entry of the journal
/// that `event` gives. Gives the device as it was.
///
/// # Errors
/// The store's.
pub async fn revoke_listed(
    store: &dyn Store,
    tenant: &TenantId,
    id: DeviceId,
    at: UnixMillis,
    event: impl Fn(&Device) -> Option<SecurityEvent>,
) -> Result<Option<Device>, StoreError> {
    for _ in 0..RACES {
        let Some((device, revision)) = find(store, tenant, id).await? else { return Ok(None) };
        let revoked = Device { revoked_at: Some(at), push: None, ..device.clone() };
        let mut batch = put(Batch::new(), &revoked, revision)?;
        if let Some(target) = &device.push {
            batch = push::free(store, batch, &device, target).await?;
        }
        let mut listed = Listed::load(store, tenant, &device.username).await?;
        listed.user.devices.retain(|listed| *listed != id);
        let notice = notice_id(&format!("{} {id}", WireName(NoticeEvent::DeviceRevoked)));
        listed.user.note(DeviceNotice::of_device(&device, NoticeEvent::DeviceRevoked, notice, at));
        batch = listed.put(batch)?;
        if let Some(event) = event(&device) {
            batch = batch.entry(event.entry());
        }
        if committed(store, batch).await? {
            return Ok(Some(device));
        }
    }
    Err(StoreError::too_many_races())
}

pub(super) fn ended_early() -> StoreError {
    StoreError::Unavailable("a task ended early".to_owned())
}
