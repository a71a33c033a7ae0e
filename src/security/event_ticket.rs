//! Tickets for `EventSource`, which cannot send an `Authorization` header: read-only access to one
//! ceremony's events in a URL, good for one request within half a minute, because URLs end up in
//! logs and histories.
//!
//! Nothing is stored when a ticket is issued: it is under the relay's own HMAC. That one was used is
//! stored by [`crate::app::event_tickets`].

use fido_relay_proto::{CeremonyId, TenantId, UnixMillis};

use super::keys::Keys;
use super::mac_envelope::MacEnvelope;
use super::random;

/// How long an event ticket may be used, in seconds.
pub const LIFETIME_S: u64 = 30;

const PREFIX: &str = "evt_";
/// Keeps this use of the key apart from [`super::ticket`], whose payloads never begin like this.
const PURPOSE: &[u8] = b"fido-relay/event-ticket/v1/";
const NAME: usize = 16;

/// Makes and reads event tickets.
#[derive(Debug)]
pub struct EventTickets(MacEnvelope);

/// What an unused event ticket grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventAccess {
    pub tenant: TenantId,
    pub ceremony: CeremonyId,
    /// The ticket's random name.
    pub name: [u8; NAME],
    pub ends_at: UnixMillis,
}

impl EventTickets {
    /// Event tickets under the installation's key.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        Self(MacEnvelope::new(&keys.ticket, PREFIX, PURPOSE))
    }

    /// A new ticket for this ceremony.
    #[must_use]
    pub fn issue(&self, tenant: &TenantId, ceremony: CeremonyId, now: UnixMillis) -> String {
        let ends_at = now.plus_secs(LIFETIME_S).0.to_be_bytes();
        let name = random::bytes::<NAME>();
        let tenant = tenant.as_str().as_bytes();
        self.0.wrap(&[&ends_at[..], &name, ceremony.as_bytes(), tenant].concat())
    }

    /// What a ticket grants, if this installation issued it and its time is not over.
    #[must_use]
    pub fn read(&self, ticket: &str, now: UnixMillis) -> Option<EventAccess> {
        let payload = self.0.unwrap(ticket)?;
        let (ends_at, rest) = payload.split_first_chunk::<8>()?;
        let (name, rest) = rest.split_first_chunk::<NAME>()?;
        let (ceremony, tenant) = rest.split_first_chunk::<16>()?;
        let access = EventAccess {
            tenant: std::str::from_utf8(tenant).ok()?.parse().ok()?,
            ceremony: CeremonyId::from_bytes(*ceremony),
            name: *name,
            ends_at: UnixMillis(u64::from_be_bytes(*ends_at)),
        };
        (now < access.ends_at).then_some(access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::{base64url, from_base64url};
    use crate::security::ticket::Tickets;

    const ID: CeremonyId = CeremonyId::from_bytes([7; 16]);
    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn keys(key: u8) -> Keys {
        Keys {
            ticket: [key; 32],
            browser: [0; 32],
            access: [0; 32],
            user_handle: [0; 32],
            result: Vec::new(),
            record: Vec::new(),
        }
    }

    fn tickets(key: u8) -> EventTickets {
        EventTickets::new(&keys(key))
    }

    #[test]
    fn a_ticket_names_its_ceremony_for_half_a_minute() {
        let tickets = tickets(1);
        let ticket = tickets.issue(&TenantId::default(), ID, NOW);
        let access = tickets.read(&ticket, NOW.plus_millis(29_999)).unwrap();
        assert_eq!((access.tenant, access.ceremony), (TenantId::default(), ID));
        assert!(tickets.read(&ticket, NOW.plus_secs(LIFETIME_S)).is_none());
    }

    #[test]
    fn no_changed_or_foreign_ticket_opens_anything() {
        let ours = tickets(1);
        let ticket = ours.issue(&TenantId::default(), ID, NOW);
        assert!(tickets(2).read(&ticket, NOW).is_none());
        let bytes = from_base64url(&ticket[PREFIX.len()..]).unwrap();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            let forged = format!("{PREFIX}{}", base64url(&forged));
            assert!(ours.read(&forged, NOW).is_none(), "byte {at}");
        }
        let long = Tickets::new(&keys(1)).issue(&TenantId::default(), ID);
        assert!(
            ours.read(&long.replace("tkt_", PREFIX), NOW).is_none(),
            "a ticket of the other kind"
        );
        assert!(Tickets::new(&keys(1)).read(&ticket.replace(PREFIX, "tkt_")).is_none());
    }
}
