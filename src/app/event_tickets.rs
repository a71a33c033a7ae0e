//! Event tickets that were used: of any number of requests with one ticket, on any node, one is
//! answered.

use fido_relay_proto::UnixMillis;
use serde::{Deserialize, Serialize};

use super::App;
use crate::encoding::base64url;
use crate::ports::{Bucket, Due, DueRule, Record, StoreError, records};
use crate::security::event_ticket::EventAccess;

/// How long the use of a ticket is remembered, in seconds from the ticket's end: for a clock that
/// is set back.
const REMEMBERED_S: u64 = 600;

/// Remembers that a ticket was used.
#[derive(Serialize, Deserialize)]
struct UsedTicket {
    until: UnixMillis,
}

impl Record for UsedTicket {
    fn due(&self) -> Option<Due> {
        Some(Due::removal(self.until))
    }
}

/// The rule of [`Bucket::EventTickets`].
pub const USED_TICKETS: DueRule =
    DueRule { bucket: Bucket::EventTickets, due: records::due_of::<UsedTicket> };

/// Uses a ticket up: `true` for one of any number of uses.
///
/// # Errors
/// The store's; then the ticket may be used up all the same.
pub async fn use_up(app: &App, access: &EventAccess) -> Result<bool, StoreError> {
    let key = format!("{}.{}", access.tenant, base64url(access.name));
    let used = UsedTicket { until: access.ends_at.plus_secs(REMEMBERED_S) };
    records::save_first(&*app.store, Bucket::EventTickets, &key, &used).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fido_relay_proto::{CeremonyId, TenantId};

    use super::*;
    use crate::app::tests::over;
    use crate::backends::embedded::{MemoryStore, SystemClock};

    #[tokio::test]
    async fn a_ticket_is_used_up_once_and_no_other_with_it() {
        let app = over(Arc::new(MemoryStore::default()), Arc::new(SystemClock));
        let access = |name| EventAccess {
            tenant: TenantId::default(),
            ceremony: CeremonyId::from_bytes([7; 16]),
            name: [name; 16],
            ends_at: UnixMillis(1_800_000_000_000),
        };
        assert!(use_up(&app, &access(1)).await.unwrap());
        assert!(!use_up(&app, &access(1)).await.unwrap());
        assert!(use_up(&app, &access(2)).await.unwrap());
    }
}
