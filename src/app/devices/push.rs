//! The address by which a device is woken: set and removed by the device itself, and forgotten once
//! its push service no longer knows it. An address belongs to one device.

use fido_relay_proto::http::PushTarget;
use fido_relay_proto::{DeviceId, TenantId, UnixMillis};

use super::record::{find, put};
use crate::app::{RACES, committed};
use crate::ports::{Batch, Store, StoreError};

/// Forgets an address that its service no longer knows, unless the device has set another since.
/// Whether it was forgotten.
///
/// # Errors
/// The store's.
pub async fn forget_push(
    store: &dyn Store,
    tenant: &TenantId,
    id: DeviceId,
    target: &PushTarget,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    for _ in 0..RACES {
        let Some((mut device, revision)) = find(store, tenant, id).await? else { return Ok(false) };
        if device.push.as_ref() != Some(target) {
            return Ok(false);
        }
        device.push = None;
        device.push_removed = Some(now);
        if committed(store, put(Batch::new(), &device, revision)?).await? {
            return Ok(true);
        }
    }
    Err(StoreError::too_many_races())
}
