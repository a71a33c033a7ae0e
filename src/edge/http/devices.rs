//! `/v1/devices` and a user's list of them: pair, list, revoke.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fido_relay_proto::http::{DeviceList, DeviceView, PairDevice, PairedDevice, Scope};
use fido_relay_proto::{DeviceId, Problem, ProblemCode, Username};
use futures::channel::oneshot;

use super::body::JsonBody;
use super::caller::Initiator;
use super::refusal::Refusal;
use super::rfc3339;
use super::segment::Segment;
use crate::edge::Edge;
use crate::ports::{Happening, SecurityEvent};
use crate::relay::RevokeError;
use crate::relay::devices::{self, Device};
use crate::security::pairing::{self, PairingError};
use crate::security::{device_proof, random};

/// `POST /v1/devices`. Whatever is wrong with token or proof, the answer is the same 401; only the
/// holder of the true token learns that it was used before.
pub(super) async fn pair(
    State(edge): State<Edge>,
    JsonBody { value, .. }: JsonBody<PairDevice>,
) -> Result<(StatusCode, Json<PairedDevice>), Refusal> {
    let socket_url = edge.inner.socket_urls.first().cloned().unwrap_or_default();
    let (tell, told) = oneshot::channel();
    let tasks = edge.relay().world().tasks.clone();
    // A phone that hangs up must not leave a used token without a device.
    tasks.spawn_bare(async move { drop(tell.send(redeem(&edge, value).await)) });
    let device_id = told.await.unwrap_or_else(|_| Err(ProblemCode::Internal.into()))?;
    Ok((StatusCode::CREATED, Json(PairedDevice { device_id, socket_url })))
}

async fn redeem(edge: &Edge, order: PairDevice) -> Result<DeviceId, Refusal> {
    let world = edge.relay().world();
    let (store, now) = (&*world.store, world.clock.now());
    let token = order.pairing_token.as_deref().unwrap_or_default();
    let (pairing, revision) = pairing::look(store, token, now).await.map_err(refused)?;
    let token_hash = pairing::token_hash(token);
    let settings = edge.settings();
    let mut bases = std::iter::once(&settings.public_url).chain(&settings.public_aliases);
    let good = bases.any(|base| {
        let audience = format!("{base}/v1/devices");
        device_proof::verify_pairing(&order.proof, &order.jwk, &audience, &token_hash).is_ok()
    });
    if !good {
        return Err(ProblemCode::ProofRefused.into());
    }
    pairing::redeem(store, token, revision, now).await.map_err(refused)?;
    let device = Device {
        id: DeviceId::from_bytes(random::bytes()),
        tenant: pairing.tenant,
        username: pairing.username,
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
            world.witnesses.noted(&SecurityEvent { tenant, at: now, what }).await;
            Ok(device_id)
        }
        Err(devices::TooManyDevices) => Err(Problem::new(ProblemCode::Unprocessable)
            .with_detail("this user has as many devices as allowed: revoke one first")
            .into()),
    }
}

fn refused(error: PairingError) -> Refusal {
    match error {
        PairingError::Unknown => ProblemCode::ProofRefused.into(),
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
            list.push(DeviceView {
                device_id: id,
                name: device.name,
                platform: device.platform,
                paired_at: rfc3339::format(device.paired_at),
                online: caller.has(Scope::PresenceRead).then_some(online),
            });
        }
    }
    Ok(Json(DeviceList { devices: list }))
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
