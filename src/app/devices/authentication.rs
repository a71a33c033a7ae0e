//! Which device a proof is of: the one thing that a device's socket and its requests have in common.

use fido_relay_proto::http::P256Jwk;
use fido_relay_proto::{DeviceId, TenantId};

use super::{Device, load};
use crate::app::App;
use crate::ports::StoreError;

/// Why a proof authenticates no device.
#[derive(Debug)]
pub enum Unproven<E> {
    /// The device that it names is not paired, or not any more.
    NotPaired,
    /// It is not by the device's key, or not for this use.
    Proof(E),
    Store(StoreError),
}

/// The device that a proof names, as it is stored now, with what `verify` makes of the proof and
/// the device's key.
pub async fn authenticate<T, E>(
    app: &App,
    tenant: &TenantId,
    claimed: DeviceId,
    verify: impl FnOnce(&P256Jwk) -> Result<T, E>,
) -> Result<(Device, T), Unproven<E>> {
    let found = load(&*app.store, tenant, claimed).await.map_err(Unproven::Store)?;
    let device = found.ok_or(Unproven::NotPaired)?;
    let proven = verify(&device.jwk).map_err(Unproven::Proof)?;
    Ok((device, proven))
}
