//! A mutex for each of many keys, in a fixed size of memory.

use tokio::sync::{Mutex, MutexGuard};

/// Keys whose hashes fall together take turns too; more would only cost memory.
const STRIPES: usize = 256;

/// One holder a key at a time: many would otherwise spend their time on lost races.
#[derive(Debug)]
pub(super) struct KeyedMutex([Mutex<()>; STRIPES]);

impl Default for KeyedMutex {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl KeyedMutex {
    /// Waits for this key's turn, which lasts as long as the guard.
    pub(super) async fn take(&self, key: &str) -> MutexGuard<'_, ()> {
        let hash = |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte));
        self.0[key.bytes().fold(0, hash) % STRIPES].lock().await
    }
}
