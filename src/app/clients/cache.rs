//! Clients that authenticated lately, by the hash of their API key: their next request parses no
//! record. Both records are loaded for each request all the same, so that a key that ended grants
//! nothing from then on, whichever process ended it.

use std::sync::Arc;

use dashmap::DashMap;

use super::Client;
use crate::ports::Revision;

/// Most keys in the cache. One more empties it, and each key then costs its parsing once.
const KEYS: usize = 4096;

/// Clients by the hash of a key that was once good for them. Only good keys are cached, so guesses
/// displace nothing.
#[derive(Default)]
pub(super) struct ClientCache {
    by_hash: DashMap<String, CachedClient>,
}

impl std::fmt::Debug for ClientCache {
    /// Leaves out the hashes of the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientCache({})", self.by_hash.len())
    }
}

/// A client as it was parsed, with the revisions of its two records.
#[derive(Clone)]
pub(super) struct CachedClient {
    /// Of the record under the key's hash, which names the client.
    pub(super) pointer: Revision,
    /// Of the client's record.
    pub(super) record: Revision,
    pub(super) client: Arc<Client>,
}

impl ClientCache {
    /// The client, if the record under the key's hash still has this revision.
    pub(super) fn get(&self, hash: &str, pointer: Revision) -> Option<CachedClient> {
        self.by_hash
            .get(hash)
            .filter(|cached| cached.pointer == pointer)
            .map(|cached| cached.clone())
    }

    pub(super) fn insert(&self, hash: &str, cached: CachedClient) {
        if self.by_hash.len() >= KEYS {
            self.by_hash.clear();
        }
        self.by_hash.insert(hash.to_owned(), cached);
    }

    pub(super) fn remove(&self, hash: &str) {
        self.by_hash.remove(hash);
    }
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::{ClientId, PlainText, TenantId, UnixMillis};

    use super::*;

    #[test]
    fn no_more_keys_are_cached_than_there_is_room_for() {
        let client = Client {
            id: ClientId::from_bytes([1; 16]),
            tenant: TenantId::default(),
            name: PlainText::new("Shop").unwrap(),
            scopes: Vec::new(),
            bindings: Vec::new(),
            code_alone: true,
            knows_prior_auth_scope: true,
            created_at: UnixMillis(0),
            keys: Vec::new(),
            allow_from: Vec::new(),
            page_origins: Vec::new(),
            public_keys: Vec::new(),
        };
        let (client, clients) = (Arc::new(client), ClientCache::default());
        for number in 0..3 * KEYS {
            let (pointer, record) = (Revision(1), Revision(2));
            let cached = CachedClient { pointer, record, client: Arc::clone(&client) };
            clients.insert(&number.to_string(), cached);
            assert!(clients.by_hash.len() <= KEYS);
        }
        let last = (3 * KEYS - 1).to_string();
        assert!(clients.get(&last, Revision(1)).is_some());
        assert!(clients.get(&last, Revision(3)).is_none(), "the key's record is another by now");
        clients.remove(&last);
        assert!(clients.get(&last, Revision(1)).is_none());
    }
}
