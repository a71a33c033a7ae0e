//! The origins that any client of the tenant lists, as this node last saw them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use fido_relay_proto::{TenantId, UnixMillis};

use crate::app::clients::Clients;
use crate::ports::StoreError;

/// Milliseconds for which the listed origins are remembered: preflights carry no credential, so
/// they must not cost a walk over all clients each.
const LISTED_FOR_MS: u64 = 5_000;

/// A cache of the listed origins.
#[derive(Debug, Default)]
pub(super) struct PageOrigins(Mutex<Option<(UnixMillis, Arc<BTreeSet<String>>)>>);

impl PageOrigins {
    pub(super) async fn listed(
        &self,
        clients: &Clients,
        tenant: &TenantId,
        now: UnixMillis,
    ) -> Result<Arc<BTreeSet<String>>, StoreError> {
        if let Some((at, origins)) = self.remembered() {
            // A clock that was set back must not extend the time.
            if at <= now && now.millis_since(at) < LISTED_FOR_MS {
                return Ok(origins);
            }
        }
        let clients = clients.list(tenant).await?;
        let origins = clients.iter().flat_map(|client| &client.page_origins);
        let origins: Arc<BTreeSet<_>> = Arc::new(origins.map(ToString::to_string).collect());
        let remembered = Some((now, Arc::clone(&origins)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = remembered;
        Ok(origins)
    }

    fn remembered(&self) -> Option<(UnixMillis, Arc<BTreeSet<String>>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
