//! A mutex for each of many keys, in a fixed size of memory.

use tokio::sync::{Mutex, MutexGuard};

/// Keys whose hashes fall together take turns too; more would only cost memory.
const STRIPES: usize = 256;

/// Whatever is done for one key is done one after the other: many at once would otherwise spend
/// their time on lost races.
#[derive(Debug)]
pub(crate) struct KeyedMutex([Mutex<()>; STRIPES]);

impl Default for KeyedMutex {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl KeyedMutex {
    /// Waits for this key's turn; it lasts as long as what is given.
    pub(crate) async fn take(&self, key: &str) -> MutexGuard<'_, ()> {
        let hash = |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte));
        self.0[key.bytes().fold(0, hash) % STRIPES].lock().await
    }
}
