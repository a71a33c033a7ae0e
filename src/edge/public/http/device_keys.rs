//! `POST /v1/device/key`: a device takes a new key. It authenticates by both keys alone, without an
//! initiator.

use axum::Json;
use axum::extract::State;
use fido_relay_proto::ProblemCode;
use fido_relay_proto::http::{RotateDeviceKey, RotatedDeviceKey};

use crate::app::devices;
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::body::JsonBody;
use crate::edge::public::extract::caller::DeviceCall;
use crate::schema::operations::Operation;
use crate::security::device_proof;

/// Every failure is answered by the same 401; an address with too many of them gets 429.
pub(in crate::edge) async fn rotate(
    State(edge): State<Edge>,
    DeviceCall { network: from }: DeviceCall,
    JsonBody { value, .. }: JsonBody<RotateDeviceKey>,
) -> Result<Json<RotatedDeviceKey>, ProblemResponse> {
    let tasks = edge.app().tasks.clone();
    // Detached, so that a phone that hangs up has used up its try.
    let rotated = tasks.run_detached(async move {
        let (tenant, audiences) =
            (&edge.settings().tenant, edge.at_every_base(Operation::RotateDeviceKey.path()));
        let rotated = devices::rotate_key(edge.app(), tenant, &value, &audiences).await;
        if let Ok(None) = rotated {
            edge.inner.limits.attempt_failed(from);
        }
        rotated
    });
    let rotated = rotated.await.ok_or(ProblemCode::Internal)??;
    let device = rotated.ok_or(ProblemCode::ProofRefused)?;
    let (device_id, jkt) = (device.id, device_proof::thumbprint(&device.jwk));
    Ok(Json(RotatedDeviceKey { device_id, jkt }))
}
