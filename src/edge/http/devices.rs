//! `/v1/devices` and a user's list of them: pair, list, rename, revoke.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fido_relay_proto::http::{
    DeviceList, DeviceView, PairDevice, PairedDevice, RenameDevice, Scope,
};
use fido_relay_proto::{DeviceId, ProblemCode, Username};

use super::body::JsonBody;
use super::caller::{DeviceCall, Initiator};
use super::refusal::Refusal;
use super::segment::Segment;
use crate::edge::Edge;
use crate::ports::{Happening, SecurityEvent};
use crate::relay::RevokeError;
use crate::relay::devices::{self, Changed, Device};
use crate::rfc3339;
use crate::security::pairing::{self, PairingError, Secret};
use crate::security::{device_proof, random};

/// `POST /v1/devices`. Whatever is wrong with token, code or proof, the answer is the same 401; only
/// the holder of the true token or code learns that it was used before.
pub(super) async fn pair(
    State(edge): State<Edge>,
    DeviceCall { network: from }: DeviceCall,
    JsonBody { value, .. }: JsonBody<PairDevice>,
) -> Result<(StatusCode, Json<PairedDevice>), Refusal> {
    match (&value.pairing_token, &value.typed_code) {
        (Some(_), None) => {}
        (None, Some(_)) => edge.inner.limits.typed_code(from)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(Refusal::invalid("/pairing_token, /typed_code: give one of the two"));
        }
    }
    let socket_url = edge.inner.socket_urls.first().cloned().unwrap_or_default();
    let relay = edge.relay().clone();
    // A phone that hangs up must not leave a used token without a device.
    let redeemed = relay.to_the_end(async move {
        let redeemed = redeem(&edge, value).await;
        if let Err(refusal) = &redeemed
            && matches!(refusal.code(), ProblemCode::ProofRefused | ProblemCode::Gone)
        {
            edge.inner.limits.attempt_failed(from);
        }
        redeemed
    });
    let device_id = redeemed.await.unwrap_or_else(|| Err(ProblemCode::Internal.into()))?;
    Ok((StatusCode::CREATED, Json(PairedDevice { device_id, socket_url })))
}

async fn redeem(edge: &Edge, order: PairDevice) -> Result<DeviceId, Refusal> {
    let world = edge.relay().world();
    let (store, now) = (&*world.store, world.clock.now());
    let secret = match (&order.pairing_token, &order.typed_code) {
        (Some(token), _) => Secret::Token(token),
        (None, Some(code)) => Secret::Typed(code),
        (None, None) => return Err(ProblemCode::ProofRefused.into()),
    };
    let found = match pairing::look(store, secret, now).await {
        Ok(found) => found,
        Err(error) => {
            if let PairingError::Voided(pairing) = &error {
                tracing::warn!("a pairing is void, its code was typed wrong too often");
                let what = Happening::PairingVoided { username: pairing.username.clone() };
                let event = SecurityEvent::new(pairing.tenant.clone(), now, what);
                world.note(&event).await;
            }
            return Err(refused(error));
        }
    };
    let settings = edge.settings();
    let mut bases = std::iter::once(&settings.public_url).chain(&settings.public_aliases);
    let good = bases.any(|base| {
        let audience = format!("{base}/v1/devices");
        device_proof::verify_pairing(&order.proof, &order.jwk, &audience, &found.hash).is_ok()
    });
    if !good {
        return Err(ProblemCode::ProofRefused.into());
    }
    pairing::redeem(store, &found, now).await.map_err(refused)?;
    let device = Device {
        id: DeviceId::from_bytes(random::bytes()),
        tenant: found.pairing.tenant,
        username: found.pairing.username,
        jwk: order.jwk,
        name: order.name,
        platform: order.platform,
        push: order.push,
        paired_at: now,
        revoked_at: None,
        rotated: None,
    };
    match devices::add(store, &device).await? {
        Ok(()) => {
            tracing::info!(device = %device.id, "paired");
            let Device { id: device_id, tenant, username, .. } = device;
            edge.relay().spread_news(&tenant, &username).await;
            let what = Happening::DevicePaired { device_id, username };
            world.note(&SecurityEvent::new(tenant, now, what)).await;
            Ok(device_id)
        }
        Err(devices::TooManyDevices) => Err(Refusal::unprocessable(
            "this user has as many devices as allowed: revoke one first",
        )),
    }
}

fn refused(error: PairingError) -> Refusal {
    match error {
        PairingError::Unknown | PairingError::Voided(_) => ProblemCode::ProofRefused.into(),
        PairingError::Used => ProblemCode::Gone.into(),
        PairingError::Store(error) => error.into(),
    }
}

/// `GET /v1/users/{username}/devices`.
pub(super) async fn list(
    State(edge): State<Edge>,
    caller: Initiator,
    Segment(username): Segment,
) -> Result<Json<DeviceList>, Refusal> {
    caller.require(Scope::DevicePair)?;
    let username = Username::new(&username).map_err(|_| ProblemCode::NotFound)?;
    let store = &*edge.relay().world().store;
    let tenant = &caller.0.tenant;
    let mut list = Vec::new();
    for id in devices::of_user(store, tenant, &username).await? {
        if let Some(device) = devices::load(store, tenant, id).await? {
            let online = edge.relay().registry().get(id).is_some();
            list.push(view(&caller, device, online));
        }
    }
    Ok(Json(DeviceList { devices: list }))
}

fn view(caller: &Initiator, device: Device, online: bool) -> DeviceView {
    DeviceView {
        device_id: device.id,
        name: device.name,
        platform: device.platform,
        paired_at: rfc3339::format(device.paired_at),
        online: caller.has(Scope::PresenceRead).then_some(online),
    }
}

/// `PATCH /v1/devices/{id}`: gives the device another name, and gives it as it then stands.
pub(super) async fn rename(
    State(edge): State<Edge>,
    caller: Initiator,
    Segment(id): Segment,
    JsonBody { value, .. }: JsonBody<RenameDevice>,
) -> Result<Json<DeviceView>, Refusal> {
    caller.require(Scope::DevicePair)?;
    let id: DeviceId = id.parse().map_err(|_| ProblemCode::NotFound)?;
    let world = edge.relay().world();
    let tenant = &caller.0.tenant;
    let mut news = Changed::No;
    let change = |device: &mut Device| {
        let before = device.name.replace(value.name.clone());
        news = if before == device.name { Changed::No } else { Changed::Yes };
        news
    };
    let changed = devices::change(&*world.store, tenant, id, change).await?;
    let device = changed.ok_or(ProblemCode::NotFound)?;
    if news == Changed::Yes {
        tracing::info!(device = %id, "renamed");
        let (username, client_id) = (device.username.clone(), caller.0.id);
        let what = Happening::DeviceRenamed { device_id: id, username, client_id };
        let event = SecurityEvent::new(tenant.clone(), world.clock.now(), what);
        world.note(&event).await;
    }
    let online = edge.relay().registry().get(id).is_some();
    Ok(Json(view(&caller, device, online)))
}

/// `DELETE /v1/devices/{id}`.
pub(super) async fn revoke(
    State(edge): State<Edge>,
    caller: Initiator,
    Segment(id): Segment,
) -> Result<StatusCode, Refusal> {
    caller.require(Scope::DeviceRevoke)?;
    let id: DeviceId = id.parse().map_err(|_| ProblemCode::NotFound)?;
    let client = &caller.0;
    match edge.relay().revoke(&client.tenant, id, Some(client.id)).await {
        Ok(_) => {
            tracing::info!(device = %id, "revoked");
            Ok(StatusCode::NO_CONTENT)
        }
        Err(RevokeError::NotFound) => Err(ProblemCode::NotFound.into()),
        Err(RevokeError::Store(error)) => Err(error.into()),
    }
}
