//! `POST /v1/device/key`: a device takes a new key. It proves itself by the keys alone; there is no
//! initiator in it.

use axum::Json;
use axum::extract::State;
use fido_relay_proto::device::KeyClaims;
use fido_relay_proto::http::{RotateDeviceKey, RotatedDeviceKey};
use fido_relay_proto::{ProblemCode, UnixMillis};

use super::body::JsonBody;
use super::caller::DeviceCall;
use super::refusal::Refusal;
use crate::edge::Edge;
use crate::ports::{Happening, Notice, SecurityEvent};
use crate::relay::devices::{self, Changed, Device, Rotated};
use crate::security::device_proof;

/// How far a proof's `iat` may be from the relay's clock, in seconds. Answers carry `Date`, by
/// which an app whose clock is wrong can sign again.
const FRESH_S: u64 = 300;

/// What a request comes to, held against the device as it stands.
enum Standing {
    /// The device's key hands over to the new one.
    HandsOver(KeyClaims),
    /// It has done so before: the same again.
    Done,
    /// Neither.
    Refused,
}

/// Whatever is wrong, the answer is the same 401; an address with too many of them gets 429.
pub(super) async fn rotate(
    State(edge): State<Edge>,
    DeviceCall { network: from }: DeviceCall,
    JsonBody { value, .. }: JsonBody<RotateDeviceKey>,
) -> Result<Json<RotatedDeviceKey>, Refusal> {
    let relay = edge.relay().clone();
    // A phone that hangs up must not leave a new key without the news of it.
    let rotated = relay.to_the_end(async move {
        let rotated = rotate_now(&edge, value).await;
        if matches!(&rotated, Err(refusal) if refusal.code() == ProblemCode::ProofRefused) {
            edge.inner.limits.attempt_failed(from);
        }
        rotated
    });
    let rotated = rotated.await;
    rotated.unwrap_or_else(|| Err(ProblemCode::Internal.into())).map(Json)
}

async fn rotate_now(edge: &Edge, order: RotateDeviceKey) -> Result<RotatedDeviceKey, Refusal> {
    let claimed = device_proof::claimed_rotation(&order.old_proof);
    let claimed = claimed.map_err(|_| ProblemCode::ProofRefused)?;
    let settings = edge.settings();
    let bases = std::iter::once(&settings.public_url).chain(&settings.public_aliases);
    let audiences: Vec<_> = bases.map(|base| format!("{base}/v1/device/key")).collect();
    let world = edge.relay().world();
    let now = world.clock.now();
    let mut standing = Standing::Refused;
    let change = |device: &mut Device| {
        standing = stands(device, &order, &audiences, now);
        let Standing::HandsOver(claims) = &standing else { return Changed::No };
        let from = std::mem::replace(&mut device.jwk, order.new_jwk.clone());
        device.rotated = Some(Rotated { from, iat: claims.iat, at: now });
        Changed::Yes
    };
    let changed = devices::change(&*world.store, &settings.tenant, claimed.device_id, change).await;
    let Some(device) = changed? else { return Err(ProblemCode::ProofRefused.into()) };
    let answer =
        RotatedDeviceKey { device_id: device.id, jkt: device_proof::thumbprint(&device.jwk) };
    match standing {
        Standing::Refused => return Err(ProblemCode::ProofRefused.into()),
        Standing::Done => {}
        Standing::HandsOver(_) => {
            tracing::info!(device = %device.id, "key rotated");
            world.bus.publish(Notice::Rekeyed(device.id)).await;
            let (device_id, username) = (device.id, device.username.clone());
            let what = Happening::DeviceKeyRotated { device_id, username };
            let event = SecurityEvent::new(device.tenant.clone(), now, what);
            world.note(&event).await;
        }
    }
    // Also when it is done already: the first time may have come no further than the key.
    devices::note_rotation(&*world.store, &device).await?;
    edge.relay().spread_news(&device.tenant, &device.username).await;
    Ok(answer)
}

fn stands(
    device: &Device,
    order: &RotateDeviceKey,
    audiences: &[String],
    now: UnixMillis,
) -> Standing {
    let proofs = (order.old_proof.as_str(), order.new_proof.as_str());
    let by = |old| device_proof::verify_rotation(proofs, (old, &order.new_jwk), audiences);
    if let Ok(claims) = by(&device.jwk) {
        let fresh = claims.iat.abs_diff(now.as_secs()) <= FRESH_S;
        // A request that was used before the last one must not be used again.
        let newer = device.rotated.as_ref().is_none_or(|last| claims.iat > last.iat);
        return if fresh && newer { Standing::HandsOver(claims) } else { Standing::Refused };
    }
    match &device.rotated {
        Some(last) if order.new_jwk == device.jwk && by(&last.from).is_ok() => Standing::Done,
        Some(_) | None => Standing::Refused,
    }
}
