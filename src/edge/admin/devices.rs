//! The operator's side of phones: which a user has, and revoking one, say when it is lost and no
//! backend is at hand. A phone is paired by its person, never here.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use fido_relay_proto::http::Platform;
use fido_relay_proto::{DeviceId, PlainText, Problem, ProblemCode, Username};
use serde::{Deserialize, Serialize};

use super::Admin;
use crate::edge::http::fields::QueryOf;
use crate::edge::http::refusal::Refusal;
use crate::ports::{Revocation, Revocations, Revoked};
use crate::relay::{Relay, RevokeError, devices};
use crate::rfc3339;

/// How a device or card is revoked.
#[derive(Clone, Debug)]
pub enum Revoking {
    /// By the relay that runs: its socket closes at once.
    Running(Relay),
    /// In the list and the store of a relay that does not run.
    AtRest(Arc<dyn Revocations>),
}

/// A device as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceEntry {
    /// The device.
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

/// Whose devices or cards.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    pub(super) username: Username,
}

/// `GET /devices?username=…`: oldest first.
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    QueryOf(Whose { username }): QueryOf<Whose>,
) -> Result<Json<Vec<DeviceEntry>>, Refusal> {
    let mut entries = Vec::new();
    for id in devices::of_user(&*admin.store, &admin.tenant, &username).await? {
        let Some(device) = devices::load(&*admin.store, &admin.tenant, id).await? else { continue };
        let online = match &admin.revoking {
            Revoking::Running(relay) => Some(relay.registry().get(id).is_some()),
            Revoking::AtRest(_) => None,
        };
        entries.push(DeviceEntry {
            device_id: id,
            name: device.name,
            platform: device.platform,
            paired_at: rfc3339::format(device.paired_at),
            online,
        });
    }
    Ok(Json(entries))
}

/// `DELETE /devices/{id}`.
pub(super) async fn revoke(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let id: DeviceId = id.parse().map_err(|_| none())?;
    match revoke_one(&admin, id).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(RevokeError::NotFound) => Err(none()),
        Err(RevokeError::Store(error)) => Err(error.into()),
    }
}

/// Revokes a device, with or without a relay that runs.
pub(super) async fn revoke_one(admin: &Admin, id: DeviceId) -> Result<(), RevokeError> {
    match &admin.revoking {
        Revoking::Running(relay) => drop(relay.revoke(&admin.tenant, id, None).await?),
        Revoking::AtRest(list) => revoke_at_rest(admin, &**list, id).await?,
    }
    tracing::info!(device = %id, "revoked by the operator");
    Ok(())
}

/// The list first: a store that is put back to an earlier state does not bring the device back.
async fn revoke_at_rest(
    admin: &Admin,
    list: &dyn Revocations,
    id: DeviceId,
) -> Result<(), RevokeError> {
    let Admin { tenant, store, clock, .. } = admin;
    if devices::load(&**store, tenant, id).await?.is_none() {
        return Err(RevokeError::NotFound);
    }
    let at = clock.now();
    list.record(Revocation { tenant: tenant.clone(), what: Revoked::Device(id), at }).await?;
    devices::revoke(&**store, tenant, id, at).await?;
    Ok(())
}

fn none() -> Refusal {
    Problem::new(ProblemCode::NotFound).with_detail("there is no such device").into()
}
