//! Tickets: read-only access to one ceremony, for a page.
//!
//! A ticket is the ceremony's id and tenant under the relay's own HMAC, so that nothing has to be
//! stored and an idempotent repeat of an opening gives the same ticket. It is void
//! [`AFTER_END_S`] seconds after the ceremony's end.

use fido_relay_proto::{CeremonyId, TenantId};

use super::keys::Keys;
use super::mac_envelope::MacEnvelope;

/// How long a ticket outlives its ceremony, in seconds.
pub const AFTER_END_S: u64 = 60;

const PREFIX: &str = "tkt_";

/// Whether a bearer credential is meant to be a ticket; not whether it is one.
#[must_use]
pub fn is_meant(bearer: &str) -> bool {
    bearer.starts_with(PREFIX)
}

/// Makes and reads tickets.
#[derive(Debug)]
pub struct Tickets(MacEnvelope);

impl Tickets {
    /// Tickets under the installation's key.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        Self(MacEnvelope::new(&keys.ticket, PREFIX, b""))
    }

    /// The ticket of this ceremony.
    #[must_use]
    pub fn issue(&self, tenant: &TenantId, ceremony: CeremonyId) -> String {
        self.0.wrap(&[ceremony.as_bytes(), tenant.as_str().as_bytes()].concat())
    }

    /// The ceremony of a ticket, if this installation issued it.
    #[must_use]
    pub fn read(&self, ticket: &str) -> Option<(TenantId, CeremonyId)> {
        let payload = self.0.unwrap(ticket)?;
        let (id, tenant) = payload.split_first_chunk::<16>()?;
        Some((std::str::from_utf8(tenant).ok()?.parse().ok()?, CeremonyId::from_bytes(*id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{base64url, from_base64url};

    fn tickets(key: u8) -> Tickets {
        Tickets::new(&Keys {
            ticket: [key; 32],
            browser: [0; 32],
            access: [0; 32],
            user_handle: [0; 32],
            result: Vec::new(),
            record: Vec::new(),
        })
    }

    #[test]
    fn a_ticket_opens_its_ceremony() {
        let id = CeremonyId::from_bytes([7; 16]);
        let ticket = tickets(1).issue(&TenantId::default(), id);
        assert_eq!(tickets(1).read(&ticket), Some((TenantId::default(), id)));
    }

    #[test]
    fn no_changed_or_foreign_ticket_opens_anything() {
        let ours = tickets(1);
        let ticket = ours.issue(&TenantId::default(), CeremonyId::from_bytes([7; 16]));
        assert_eq!(tickets(2).read(&ticket), None);
        let bytes = from_base64url(&ticket[PREFIX.len()..]).unwrap();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            let forged = format!("{PREFIX}{}", base64url(&forged));
            assert_eq!(ours.read(&forged), None, "byte {at}");
        }
        for text in ["", "tkt_", "rk_abc", "tkt_AAAA", &ticket[..ticket.len() - 4]] {
            assert_eq!(ours.read(text), None);
        }
    }
}
