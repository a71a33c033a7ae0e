//! A store and a clock in memory, which can be told to fail and to move.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fido_relay_proto::UnixMillis;
use futures::future::BoxFuture;

use crate::ports::{Batch, Bucket, Change, Clock, Revision, Store, StoreError, Stored, Write};

#[derive(Debug, Default)]
pub(super) struct MemoryStore {
    /// The last revision, and the records.
    records: Mutex<(u64, Records)>,
    /// Reads fail.
    pub(super) unreadable: AtomicBool,
    /// Writes fail.
    pub(super) unwritable: AtomicBool,
    /// The record of this key is gone once it was read so often.
    gone_after: Mutex<Option<(u64, String)>>,
}

/// By the bucket's name and the key.
type Records = BTreeMap<(&'static str, String), Stored>;

impl MemoryStore {
    /// Keys of the records that there are.
    pub(super) fn keys(&self) -> Vec<String> {
        self.records.lock().unwrap().1.keys().map(|(_, key)| key.clone()).collect()
    }

    /// How many writes there were.
    pub(super) fn writes(&self) -> u64 {
        self.records.lock().unwrap().0
    }

    /// Removes a credential after this many reads of it from now on.
    pub(super) fn remove_after_reads(&self, reads: u64, key: &str) {
        *self.gone_after.lock().unwrap() = Some((reads, key.to_owned()));
    }

    fn was_read(&self, key: &str) {
        let mut gone_after = self.gone_after.lock().unwrap();
        if let Some((reads, _)) = gone_after.as_mut().filter(|(_, wanted)| wanted == key) {
            *reads -= 1;
            if *reads == 0 {
                let at = (Bucket::Credentials.name(), key.to_owned());
                self.records.lock().unwrap().1.remove(&at).unwrap();
                *gone_after = None;
            }
        }
    }

    fn check(&self, flag: &AtomicBool) -> Result<(), StoreError> {
        if flag.load(Ordering::SeqCst) {
            Err(StoreError::Unavailable("told to fail".to_owned()))
        } else {
            Ok(())
        }
    }

    fn apply(&self, batch: Batch) -> Result<Revision, StoreError> {
        self.check(&self.unwritable)?;
        batch.validate()?;
        let (last, records) = &mut *self.records.lock().unwrap();
        for change in batch.changes() {
            let at = (change.bucket.name(), change.key.to_string());
            let current = records.get(&at).map_or(Revision::ABSENT, |stored| stored.revision);
            if current != change.expected {
                return Err(StoreError::Conflict(change.name()));
            }
        }
        if batch.changes().iter().any(|change| change.write != Write::Check) {
            *last += 1;
        }
        let revision = Revision(*last);
        for Change { bucket, key, write, .. } in batch.into_parts().0 {
            let at = (bucket.name(), key.to_string());
            match write {
                Write::Check => {}
                Write::Put { value, due } => {
                    drop(records.insert(at, Stored { revision, value, due }));
                }
                Write::Remove => drop(records.remove(&at)),
            }
        }
        Ok(revision)
    }
}

impl Store for MemoryStore {
    fn load<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        Box::pin(async move {
            self.check(&self.unreadable)?;
            let at = (bucket.name(), key.to_owned());
            let found = self.records.lock().unwrap().1.get(&at).cloned();
            self.was_read(key);
            Ok(found)
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move { self.apply(batch) })
    }

    fn list<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(async move {
            self.check(&self.unreadable)?;
            let records = &self.records.lock().unwrap().1;
            let wanted = records
                .iter()
                .filter(|((of, key), _)| *of == bucket.name() && key.starts_with(prefix));
            Ok(wanted.map(|((_, key), stored)| (key.clone(), stored.clone())).collect())
        })
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(super) struct SetClock(AtomicU64);

impl SetClock {
    pub(super) fn advance(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Default for SetClock {
    fn default() -> Self {
        // 2026-01-01: within the validity of the certificates that the tests make.
        Self(AtomicU64::new(1_767_225_600_000))
    }
}

impl Clock for SetClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }
}
