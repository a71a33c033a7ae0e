//! `/v1/pairings`: one-time tokens by which a phone becomes a user's device.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fido_relay_proto::http::{OpenPairing, OpenedPairing, Scope};

use super::body::JsonBody;
use super::caller::Initiator;
use super::refusal::Refusal;
use crate::edge::Edge;
use crate::security::pairing;

/// `POST /v1/pairings`.
pub(super) async fn open(
    State(edge): State<Edge>,
    caller: Initiator,
    JsonBody { value, .. }: JsonBody<OpenPairing>,
) -> Result<(StatusCode, Json<OpenedPairing>), Refusal> {
    caller.require(Scope::DevicePair)?;
    let world = edge.relay().world();
    let opened = pairing::open(
        &*world.store,
        &caller.0.tenant,
        &value.username,
        &edge.settings().public_url,
        world.clock.now(),
    )
    .await?;
    Ok((StatusCode::CREATED, Json(opened)))
}
