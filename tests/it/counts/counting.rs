//! A store that counts what is asked of it, over the store of production, whose files count what
//! reaches the disk.

use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fido_relay::backends::embedded::{FileStore, StoreFile, StoreOptions};
use fido_relay::ports::{Batch, BoxFuture, Bucket, Revision, Store, StoreError, Stored};
use fido_relay::serve;
use redb::{BackendError, StorageBackend};
use tokio::sync::Notify;

use crate::store_files::opened;

use crate::support::faulty_store::{Faults, FaultyStore};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// Commits that name the record of a ceremony.
    CeremonyCommits,
    /// All commits that were made.
    Commits,
    /// Commits that met a conflict, which reach no disk.
    Conflicts,
    /// Flushes of the store's files.
    Flushes,
    /// Bytes written to them.
    Bytes,
    /// Records of ceremonies that were read: each is parsed once.
    CeremonyLoads,
    /// All records that were asked for by their keys.
    Loads,
    /// Tasks that were started, also those of a connection.
    Tasks,
    /// Result tokens that were signed.
    Signatures,
}

const COUNTS: usize = 9;

/// How much of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts(pub(super) [usize; COUNTS]);

impl Counts {
    pub(super) fn get(&self, count: Count) -> usize {
        self.0[count as usize]
    }

    pub(super) fn with(mut self, count: Count, number: usize) -> Self {
        self.0[count as usize] = number;
        self
    }

    /// What came after `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|count| self.0[count] - before.0[count]))
    }
}

/// What was counted so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    counts: [AtomicUsize; COUNTS],
    counted: Notify,
}

impl Counters {
    fn add(&self, count: Count, more: usize) {
        self.counts[count as usize].fetch_add(more, Ordering::SeqCst);
        self.counted.notify_waiters();
    }

    pub(super) fn now(&self) -> Counts {
        Counts(std::array::from_fn(|count| self.counts[count].load(Ordering::SeqCst)))
    }

    /// Waits until there are as many.
    pub(super) async fn until(&self, count: Count, least: usize) {
        loop {
            let counted = self.counted.notified();
            if self.now().get(count) >= least {
                return;
            }
            counted.await;
        }
    }
}

/// Counts what is done to the store of production.
#[derive(Debug)]
pub(super) struct Counting {
    /// As one node of several would have it: false.
    is_exclusive: bool,
    counters: Arc<Counters>,
}

impl Counting {
    /// The store of production in this directory.
    pub(super) fn open(
        directory: &Path,
        is_exclusive: bool,
    ) -> (Arc<FaultyStore<Self, FileStore>>, Arc<Counters>) {
        let counters = Arc::new(Counters::default());
        let (path, counting) = (directory.join(serve::STORE_FILE), Arc::clone(&counters));
        let tables = path.clone();
        let open = move |part: StoreFile| {
            let (file, counters) = (opened(&part.file(&tables))?, Arc::clone(&counting));
            Ok(Box::new(CountingFile { file, counters }) as Box<dyn StorageBackend>)
        };
        let rules = serve::due_rules();
        let options = StoreOptions { rules: &rules, ..StoreOptions::default() };
        let store = FileStore::open_by(&path, options, open).unwrap();
        let counting = Self { is_exclusive, counters: Arc::clone(&counters) };
        (Arc::new(FaultyStore::new(store, counting)), counters)
    }
}

impl Faults for Counting {
    fn is_exclusive(&self) -> bool {
        self.is_exclusive
    }

    fn loaded(&self, bucket: Bucket, found: &Result<Option<Stored>, StoreError>) {
        self.counters.add(Count::Loads, 1);
        if bucket == Bucket::Ceremonies && matches!(found, Ok(Some(_))) {
            self.counters.add(Count::CeremonyLoads, 1);
        }
    }

    fn commit<'a>(
        &'a self,
        store: &'a dyn Store,
        batch: Batch,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        let is_ceremony = batch.changes().iter().any(|change| change.bucket == Bucket::Ceremonies);
        Box::pin(async move {
            let committed = store.commit(batch).await;
            match &committed {
                Ok(_) if is_ceremony => {
                    self.counters.add(Count::Commits, 1);
                    self.counters.add(Count::CeremonyCommits, 1);
                }
                Ok(_) => self.counters.add(Count::Commits, 1),
                Err(StoreError::Conflict(_)) => self.counters.add(Count::Conflicts, 1),
                Err(error) => panic!("the store does not do it: {error}"),
            }
            committed
        })
    }
}

#[derive(Debug)]
struct CountingFile {
    file: redb::backends::FileBackend,
    counters: Arc<Counters>,
}

impl StorageBackend for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.counters.add(Count::Flushes, 1);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.counters.add(Count::Bytes, data.len());
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}
