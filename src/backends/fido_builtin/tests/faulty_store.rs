//! A store in memory with injected faults, and a clock that tests move.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fido_relay_proto::UnixMillis;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::backends::embedded::MemoryStore;
use crate::ports::{Batch, Bucket, Clock, Revision, Store, StoreError, Stored, Write};

#[derive(Debug, Default)]
pub(super) struct FaultyStore {
    inner: MemoryStore,
    pub(super) unreadable: AtomicBool,
    pub(super) unwritable: AtomicBool,
    writes: AtomicU64,
    /// The credential of this key is removed after so many more reads.
    removed_after: Mutex<Option<(u64, String)>>,
}

impl FaultyStore {
    /// The keys of all credential records.
    pub(super) fn keys(&self) -> Vec<String> {
        let listed = self.inner.list(Bucket::Credentials, "").now_or_never().unwrap().unwrap();
        listed.into_iter().map(|(key, _)| key).collect()
    }

    /// Commits that changed a record.
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    pub(super) fn remove_after_reads(&self, reads: u64, key: &str) {
        *self.removed_after.lock().unwrap() = Some((reads, key.to_owned()));
    }

    fn count_read(&self, key: &str, found: Option<&Stored>) {
        let mut removed_after = self.removed_after.lock().unwrap();
        let Some((reads, _)) = removed_after.as_mut().filter(|(_, of)| of == key) else { return };
        *reads -= 1;
        if *reads == 0 {
            let removed = self.inner.remove(Bucket::Credentials, key, found.unwrap().revision);
            removed.now_or_never().unwrap().unwrap();
            *removed_after = None;
        }
    }

    fn check(&self, flag: &AtomicBool) -> Result<(), StoreError> {
        match flag.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable("an injected fault".to_owned())),
            false => Ok(()),
        }
    }
}

impl Store for FaultyStore {
    fn load<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        Box::pin(async move {
            self.check(&self.unreadable)?;
            let found = self.inner.load(bucket, key).await?;
            self.count_read(key, found.as_ref());
            Ok(found)
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            self.check(&self.unwritable)?;
            let is_write = batch.changes().iter().any(|change| change.write != Write::Check);
            let revision = self.inner.commit(batch).await?;
            self.writes.fetch_add(u64::from(is_write), Ordering::SeqCst);
            Ok(revision)
        })
    }

    fn list<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(async move {
            self.check(&self.unreadable)?;
            self.inner.list(bucket, prefix).await
        })
    }
}

/// A clock that only a test moves.
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
