//! `/v1/devices` and a user's list of them: pair, list, rename, revoke.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fido_relay_proto::http::{
    DeviceList, DeviceView, PairDevice, PairedDevice, RenameDevice, Scope,
};
use fido_relay_proto::{DeviceId, ProblemCode, Username};

use crate::app::devices::{self, Device};
use crate::app::pairings::{self, PairingError};
use crate::app::{Actor, RevokeError};
use crate::edge::problem_response::ProblemResponse;
use crate::edge::public::Edge;
use crate::edge::public::extract::body::JsonBody;
use crate::edge::public::extract::caller::{AuthenticatedClient, DeviceCall};
use crate::edge::segment::Segment;
use crate::rfc3339;
use crate::schema::operations::Operation;

/// `POST /v1/devices`. Every failure of token, code or proof is answered by the same 401; only the
/// holder of the true token or code learns that it was used before.
pub(in crate::edge) async fn pair(
    State(edge): State<Edge>,
    DeviceCall { network: from }: DeviceCall,
    JsonBody { value, .. }: JsonBody<PairDevice>,
) -> Result<(StatusCode, Json<PairedDevice>), ProblemResponse> {
    match (&value.pairing_token, &value.typed_code) {
        (Some(_), None) => {}
        (None, Some(_)) => edge.inner.limits.typed_code(from)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(ProblemResponse::invalid(
                "/pairing_token, /typed_code: give one of the two",
            ));
        }
    }
    let socket_url = edge.inner.socket_urls.first().cloned().unwrap_or_default();
    let tasks = edge.app().tasks.clone();
    // Detached, so that a phone that hangs up has used up its try.
    let paired = tasks.run_detached(async move {
        let audiences = edge.at_every_base(Operation::PairDevice.path());
        let paired = pairings::pair(edge.app(), value, &audiences).await;
        if let Err(PairingError::Unknown | PairingError::Used) = &paired {
            edge.inner.limits.attempt_failed(from);
        }
        paired
    });
    let device_id = paired.await.ok_or(ProblemCode::Internal)??.id;
    Ok((StatusCode::CREATED, Json(PairedDevice { device_id, socket_url })))
}

impl From<PairingError> for ProblemResponse {
    fn from(error: PairingError) -> Self {
        match error {
            PairingError::Unknown => ProblemCode::ProofRefused.into(),
            PairingError::Used => ProblemCode::Gone.into(),
            PairingError::TooManyDevices => Self::unprocessable(error.to_string()),
            PairingError::Unpushable(error) => Self::unprocessable(format!("/push: {error}")),
            PairingError::Store(error) => error.into(),
        }
    }
}

/// `GET /v1/users/{username}/devices`.
pub(in crate::edge) async fn list(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(username): Segment,
) -> Result<Json<DeviceList>, ProblemResponse> {
    caller.require_route_scope()?;
    let username = Username::new(&username).map_err(|_| ProblemCode::NotFound)?;
    let found = devices::list(edge.app(), &caller.client.tenant, &username).await?;
    let devices = found.into_iter().map(|device| view(&edge, &caller, device)).collect();
    Ok(Json(DeviceList { devices }))
}

fn view(edge: &Edge, caller: &AuthenticatedClient, device: Device) -> DeviceView {
    let online = edge.relay().delivery.registry().get(device.id).is_some();
    DeviceView {
        device_id: device.id,
        name: device.name,
        platform: device.platform,
        paired_at: rfc3339::format(device.paired_at),
        online: caller.has(Scope::PresenceRead).then_some(online),
    }
}

/// `PATCH /v1/devices/{id}`: gives the device another name, and answers with the changed device.
pub(in crate::edge) async fn rename(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
    JsonBody { value, .. }: JsonBody<RenameDevice>,
) -> Result<Json<DeviceView>, ProblemResponse> {
    caller.require_route_scope()?;
    let id: DeviceId = id.parse().map_err(|_| ProblemCode::NotFound)?;
    let device = devices::rename(edge.app(), &caller.client, id, value.name).await?;
    Ok(Json(view(&edge, &caller, device.ok_or(ProblemCode::NotFound)?)))
}

/// `DELETE /v1/devices/{id}`.
pub(in crate::edge) async fn revoke(
    State(edge): State<Edge>,
    caller: AuthenticatedClient,
    Segment(id): Segment,
) -> Result<StatusCode, ProblemResponse> {
    caller.require_route_scope()?;
    let id: DeviceId = id.parse().map_err(|_| ProblemCode::NotFound)?;
    devices::revoke(edge.app(), &Actor::client(&caller.client), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<RevokeError> for ProblemResponse {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::NotFound => ProblemCode::NotFound.into(),
            RevokeError::Store(error) => error.into(),
        }
    }
}
