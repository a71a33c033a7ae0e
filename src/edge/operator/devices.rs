//! A user's phones as the operator manages them: list, and revoke one that is lost while no backend
//! is at hand. A phone is paired by its user, never here.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fido_relay_proto::http::Platform;
use fido_relay_proto::{DeviceId, PlainText, Username};
use serde::{Deserialize, Serialize};

use super::{Admin, Operator, not_found, revoked};
use crate::app::devices::{self, Device};
use crate::edge::fields::QueryOf;
use crate::edge::problem_response::ProblemResponse;
use crate::rfc3339;

/// A device as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceEntry {
    pub device_id: DeviceId,
    /// Its name, if it has one.
    pub name: Option<PlainText<64>>,
    /// What it runs on.
    pub platform: Platform,
    /// When it was paired (RFC 3339).
    pub paired_at: String,
    /// Whether it is connected to this node; none where no relay runs.
    pub online: Option<bool>,
}

/// The query of operations on a user's devices, cards or prompts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserQuery {
    pub(super) username: Username,
}

/// `GET /devices?username=…`: oldest first.
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    QueryOf(UserQuery { username }): QueryOf<UserQuery>,
) -> Result<Json<Vec<DeviceEntry>>, ProblemResponse> {
    let online = |id| admin.relay.as_ref().map(|relay| relay.delivery.registry().get(id).is_some());
    let entry = |device: Device| DeviceEntry {
        device_id: device.id,
        name: device.name,
        platform: device.platform,
        paired_at: rfc3339::format(device.paired_at),
        online: online(device.id),
    };
    let found = devices::list(&admin.app, &admin.tenant, &username).await?;
    Ok(Json(found.into_iter().map(entry).collect()))
}

/// `DELETE /devices/{id}`.
pub(super) async fn revoke(
    State(admin): State<Arc<Admin>>,
    Operator(actor): Operator,
    Path(id): Path<String>,
) -> Result<StatusCode, ProblemResponse> {
    let none = "there is no such device";
    let id: DeviceId = id.parse().map_err(|_| not_found(none))?;
    revoked(devices::revoke(&admin.app, &actor, id).await, none)
}
