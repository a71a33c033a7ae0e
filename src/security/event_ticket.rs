//! Tickets for `EventSource`, which cannot send an `Authorization` header: read-only access to one
//! ceremony's events in a URL, good for one request within half a minute, because URLs end up in
//! logs and histories.
//!
//! Nothing is stored when one is given out: it is under the relay's own HMAC. What is stored is
//! that one was used, and of any number who try at once, on any node, one stores it first.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::{CeremonyId, TenantId, UnixMillis};
use serde::{Deserialize, Serialize};

use super::keys::Keys;
use super::random;
use crate::ports::{Bucket, Due, DueRule, Record, Revision, Store, StoreError, records};

/// How long an event ticket may be used, in seconds.
pub const LIFETIME_S: u64 = 30;
/// How long it is remembered that one was used, in seconds from its end: for a clock that is set
/// back.
const REMEMBERED_S: u64 = 600;

const PREFIX: &str = "evt_";
/// Keeps this use of the key apart from [`super::ticket`], whose texts never begin like this.
const PURPOSE: &[u8] = b"fido-relay/event-ticket/v1/";
const TAG: usize = 32;
const NAME: usize = 16;

/// Makes event tickets and uses them up.
#[derive(Debug)]
pub struct EventTickets {
    key: hmac::Key,
    store: Arc<dyn Store>,
}

/// What an event ticket opens, if nobody has used it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opens {
    /// The relying party.
    pub tenant: TenantId,
    /// The ceremony.
    pub ceremony: CeremonyId,
    name: [u8; NAME],
    ends: UnixMillis,
}

/// What is stored of a ticket that was used.
#[derive(Serialize, Deserialize)]
struct Used {
    until: UnixMillis,
}

impl Record for Used {
    fn due(&self) -> Option<Due> {
        Some(Due::removal(self.until))
    }
}

/// The rule of [`Bucket::EventTickets`].
pub const DUE: DueRule = DueRule { bucket: Bucket::EventTickets, due: records::due_of::<Used> };

impl EventTickets {
    /// Event tickets under the installation's key.
    #[must_use]
    pub fn new(keys: &Keys, store: Arc<dyn Store>) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &keys.ticket), store }
    }

    /// A new one for this ceremony.
    #[must_use]
    pub fn issue(&self, tenant: &TenantId, ceremony: CeremonyId, now: UnixMillis) -> String {
        let ends = now.plus_secs(LIFETIME_S).0.to_be_bytes();
        let name = random::bytes::<NAME>();
        let says = [&ends[..], &name, ceremony.as_bytes(), tenant.as_str().as_bytes()].concat();
        let mut ticket = hmac::sign(&self.key, &signed(&says)).as_ref().to_vec();
        ticket.extend_from_slice(&says);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(ticket))
    }

    /// What a ticket opens, if it is one of ours and its time is not over.
    #[must_use]
    pub fn read(&self, ticket: &str, now: UnixMillis) -> Option<Opens> {
        let bytes = URL_SAFE_NO_PAD.decode(ticket.strip_prefix(PREFIX)?).ok()?;
        let (tag, says) = bytes.split_at_checked(TAG)?;
        hmac::verify(&self.key, &signed(says), tag).ok()?;
        let (ends, rest) = says.split_first_chunk::<8>()?;
        let (name, rest) = rest.split_first_chunk::<NAME>()?;
        let (ceremony, tenant) = rest.split_first_chunk::<16>()?;
        let opens = Opens {
            tenant: std::str::from_utf8(tenant).ok()?.parse().ok()?,
            ceremony: CeremonyId::from_bytes(*ceremony),
            name: *name,
            ends: UnixMillis(u64::from_be_bytes(*ends)),
        };
        (now < opens.ends).then_some(opens)
    }

    /// Uses it up: `true` for exactly one of all who try.
    ///
    /// # Errors
    /// The store's; then it may be used up all the same.
    pub async fn redeem(&self, opens: &Opens) -> Result<bool, StoreError> {
        let key = format!("{}.{}", opens.tenant, URL_SAFE_NO_PAD.encode(opens.name));
        let used = Used { until: opens.ends.plus_secs(REMEMBERED_S) };
        match records::save(&*self.store, Bucket::EventTickets, &key, Revision::ABSENT, &used).await
        {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn signed(says: &[u8]) -> Vec<u8> {
    [PURPOSE, says].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::embedded::MemoryStore;
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
        EventTickets::new(&keys(key), Arc::new(MemoryStore::default()))
    }

    #[tokio::test]
    async fn it_opens_its_ceremony_once() {
        let tickets = tickets(1);
        let ticket = tickets.issue(&TenantId::default(), ID, NOW);
        let opens = tickets.read(&ticket, NOW).unwrap();
        assert_eq!((&opens.tenant, opens.ceremony), (&TenantId::default(), ID));
        assert!(tickets.redeem(&opens).await.unwrap());
        assert!(!tickets.redeem(&tickets.read(&ticket, NOW).unwrap()).await.unwrap());
        let other = tickets.read(&tickets.issue(&TenantId::default(), ID, NOW), NOW).unwrap();
        assert!(tickets.redeem(&other).await.unwrap(), "every ticket is one of its own");
    }

    #[test]
    fn it_ends_after_half_a_minute_and_what_was_used_is_remembered_for_longer() {
        let tickets = tickets(1);
        let ticket = tickets.issue(&TenantId::default(), ID, NOW);
        assert!(tickets.read(&ticket, NOW.plus_millis(29_999)).is_some());
        assert!(tickets.read(&ticket, NOW.plus_secs(LIFETIME_S)).is_none());
        let opens = tickets.read(&ticket, NOW).unwrap();
        assert!(opens.ends.plus_secs(REMEMBERED_S) > opens.ends);
    }

    #[test]
    fn no_changed_or_foreign_ticket_opens_anything() {
        let ours = tickets(1);
        let ticket = ours.issue(&TenantId::default(), ID, NOW);
        assert!(tickets(2).read(&ticket, NOW).is_none());
        let bytes = URL_SAFE_NO_PAD.decode(&ticket[PREFIX.len()..]).unwrap();
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            let forged = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&forged));
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
