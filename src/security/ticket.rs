//! Tickets: read-only access to one ceremony, for a page.
//!
//! A ticket is the ceremony's place under the relay's own HMAC, so that nothing needs storing and
//! an idempotent repeat of an open gives the same one. It stops working 60 s after the end.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::{CeremonyId, TenantId};

use super::keys::Keys;

/// How long a ticket outlives its ceremony, in seconds.
pub const AFTER_END_S: u64 = 60;

const PREFIX: &str = "tkt_";
const TAG: usize = 32;

/// Whether a bearer credential is meant to be a ticket; not whether it is one.
#[must_use]
pub fn is_meant(bearer: &str) -> bool {
    bearer.starts_with(PREFIX)
}

/// Makes and reads tickets.
#[derive(Debug)]
pub struct Tickets {
    key: hmac::Key,
}

impl Tickets {
    /// Tickets under the installation's key.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &keys.ticket) }
    }

    /// The ticket of a ceremony.
    #[must_use]
    pub fn issue(&self, tenant: &TenantId, ceremony: CeremonyId) -> String {
        let place = place(tenant, ceremony);
        let mut ticket = hmac::sign(&self.key, &place).as_ref().to_vec();
        ticket.extend_from_slice(&place);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(ticket))
    }

    /// The ceremony that a ticket opens, if it is one of ours.
    #[must_use]
    pub fn read(&self, ticket: &str) -> Option<(TenantId, CeremonyId)> {
        let bytes = URL_SAFE_NO_PAD.decode(ticket.strip_prefix(PREFIX)?).ok()?;
        let (tag, place) = bytes.split_at_checked(TAG)?;
        hmac::verify(&self.key, place, tag).ok()?;
        let (id, tenant) = place.split_at_checked(16)?;
        let id = CeremonyId::from_bytes(id.try_into().ok()?);
        Some((std::str::from_utf8(tenant).ok()?.parse().ok()?, id))
    }
}

fn place(tenant: &TenantId, ceremony: CeremonyId) -> Vec<u8> {
    [ceremony.as_bytes(), tenant.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let bytes = URL_SAFE_NO_PAD.decode(&ticket[PREFIX.len()..]).unwrap();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            let forged = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&forged));
            assert_eq!(ours.read(&forged), None, "byte {at}");
        }
        for text in ["", "tkt_", "rk_abc", "tkt_AAAA", &ticket[..ticket.len() - 4]] {
            assert_eq!(ours.read(text), None);
        }
    }
}
