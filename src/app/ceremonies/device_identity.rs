//! A device that has authenticated, as far as ceremonies must know it.

use fido_relay_proto::{CeremonyId, DeviceId, TenantId, Username};

use super::CeremonyKey;
use crate::app::devices::UserKey;
use crate::core::ceremony::Ceremony;

/// A device of a user, proven by its key.
#[derive(Clone, Debug)]
pub struct DeviceIdentity {
    pub device: DeviceId,
    pub tenant: TenantId,
    pub username: Username,
}

impl DeviceIdentity {
    pub(crate) fn user(&self) -> UserKey {
        UserKey::new(&self.tenant, &self.username)
    }

    /// The key that this id has if the ceremony is one of the device's relying party.
    pub(crate) fn ceremony_key(&self, id: CeremonyId) -> CeremonyKey {
        CeremonyKey { tenant: self.tenant.clone(), id }
    }

    /// Whether the device may answer a ceremony: it is the user's, and not for another device alone.
    pub(crate) fn may_answer(&self, ceremony: &Ceremony) -> bool {
        let request = &ceremony.request;
        request.username == self.username
            && request.device_id.is_none_or(|only| only == self.device)
    }
}
