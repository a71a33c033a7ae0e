//! The store on one disk: writes are durable before they are acknowledged, and readers never wait
//! for the writer's flush.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fido_relay_proto::UnixMillis;
use redb::StorageBackend;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpoints;
use super::database::{self, Database, StoreOpenError};
use super::layers::Layers;
use super::recovery;
use super::store_file::{OpenStoreFile, StoreFile};
use super::writer::{self, WriteOp, WriteRequest, Writer};
use crate::ports::{
    Batch, BoxFuture, Bucket, DueRecord, DueRule, Duty, Position, Revision, Store, StoreError,
    Stored,
};

/// Records that a listing reads before it lets other tasks run.
const LIST_STRIDE: usize = 256;
/// How long a successful write to the tables counts as proof that writes succeed.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// How long a failed write counts as proof that writes fail.
const BAD_FOR: Duration = Duration::from_millis(500);

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions<'r> {
    /// The due times of records of an earlier version.
    pub rules: &'r [DueRule],
    /// Bytes of cached table pages.
    pub cache: usize,
    /// Bytes of a log file after which the writer switches to the other and a checkpoint begins.
    pub log_bytes: u64,
}

impl Default for StoreOptions<'_> {
    fn default() -> Self {
        Self { rules: &[], cache: database::CACHE, log_bytes: writer::LOG_BYTES }
    }
}

/// A store in tables and a log, locked by this process. Dropping it finishes every queued write,
/// applies the log to the tables and closes them; the drop waits for that.
#[derive(Debug)]
pub struct FileStore {
    layers: Arc<Layers>,
    queue: Option<mpsc::Sender<WriteRequest>>,
    writer: Option<JoinHandle<()>>,
    /// Held during a trial write.
    trial: tokio::sync::Mutex<()>,
    good_for: Duration,
}

impl FileStore {
    /// Opens the store whose tables lie at `path`, making its files and their directory if they do
    /// not exist (readable by this user alone). `rules` give the due times of records of an earlier
    /// version.
    pub fn open(path: &Path, rules: &[DueRule]) -> Result<Self, StoreOpenError> {
        let options = StoreOptions { rules, ..StoreOptions::default() };
        Self::start(path, database::files(path)?, options)
    }

    /// Opens a store on files that `open` provides, again after each failure, so that a test can
    /// inject faults. Errors name the store `path`.
    ///
    /// # Errors
    /// [`OpenError`].
    #[cfg(feature = "test-support")]
    pub fn open_by(
        path: &Path,
        options: StoreOptions<'_>,
        open: impl Fn(StoreFile) -> std::io::Result<Box<dyn StorageBackend>> + Send + Sync + 'static,
    ) -> Result<Self, StoreOpenError> {
        Self::start(path, Arc::new(open), options)
    }

    fn start(
        path: &Path,
        parts: Arc<OpenStoreFile>,
        options: StoreOptions<'_>,
    ) -> Result<Self, StoreOpenError> {
        let StoreOptions { rules, cache, log_bytes } = options;
        let (database, meta) = Database::open(path, Arc::clone(&parts), rules, cache)?;
        let (meta, log) = recovery::open_log(&database, meta, &*parts)?;
        database.set_opening(meta.opening);
        let layers = Arc::new(Layers::new(database));
        let (queue, mut waiting) = mpsc::channel(writer::QUEUE);
        let checkpoints =
            Checkpoints::start(Arc::clone(&layers)).map_err(StoreOpenError::Thread)?;
        let writer = Writer {
            layers: Arc::clone(&layers),
            parts,
            meta,
            log,
            log_bytes,
            spare: None,
            rotation_failed: None,
            checkpoints,
        };
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&mut waiting))
            .map_err(StoreOpenError::Thread)?;
        Ok(Self {
            layers,
            queue: Some(queue),
            writer: Some(writer),
            trial: tokio::sync::Mutex::default(),
            good_for: GOOD_FOR,
        })
    }

    /// Makes a trial write at every [`Store::writable`], for tests.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn always_trying(mut self) -> Self {
        self.good_for = Duration::ZERO;
        self
    }

    /// The result of the last write to the tables if that is recent enough, or of a trial write, one
    /// at a time.
    async fn try_write(&self) -> Result<(), StoreError> {
        if let Some(fenced) = self.layers.database.fenced() {
            return Err(fenced);
        }
        let (at, ended) = self.layers.tables_written();
        let good_for = if ended.is_ok() { self.good_for } else { BAD_FOR };
        let is_recent = at.elapsed() < good_for;
        let Ok(_one) = self.trial.try_lock() else { return ended };
        if is_recent {
            return ended;
        }
        self.write(WriteOp::Trial).await.map(drop)
    }

    async fn write(&self, op: WriteOp) -> Result<Revision, StoreError> {
        let gone = || StoreError::Unavailable("the store's writer has ended".to_owned());
        let (reply, result) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(WriteRequest { op, reply }).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        drop(self.queue.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the store's writer panicked");
        }
    }
}

impl Store for FileStore {
    fn is_exclusive(&self) -> bool {
        true
    }

    fn damaged(&self) -> BoxFuture<'_, String> {
        Box::pin(self.layers.database.damaged())
    }

    fn writable(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.try_write())
    }

    fn load<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        // Read on this thread: a record is nearly always in the page cache, and handing the read to
        // another thread would cost more than the read.
        Box::pin(async move { self.layers.get(bucket, key) })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            batch.validate()?;
            self.write(WriteOp::Commit(batch)).await
        })
    }

    fn journaled(&self, after: Position) -> BoxFuture<'_, ()> {
        Box::pin(self.layers.journaled(after))
    }

    fn list<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(async move {
            let mut from = Bound::Included(prefix.to_owned());
            let snapshot =
                self.layers.snapshot(bucket, Bound::Included(prefix), prefix, usize::MAX)?;
            let mut found: Vec<(String, Stored)> = Vec::new();
            loop {
                let some = self.layers.database.guard(|| {
                    let from = from.as_ref().map(String::as_str);
                    snapshot.next(bucket, from, prefix, LIST_STRIDE)
                })?;
                let Some((last, _)) = some.last() else { return Ok(found) };
                from = Bound::Excluded(last.clone());
                found.extend(some);
                tokio::task::yield_now().await;
            }
        })
    }

    fn page<'a>(
        &'a self,
        bucket: Bucket,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(async move {
            let from = Bound::Excluded(after);
            let snapshot = self.layers.snapshot(bucket, from, "", limit)?;
            self.layers.database.guard(|| snapshot.next(bucket, from, "", limit))
        })
    }

    fn due<'a>(
        &'a self,
        duty: Duty,
        until: UnixMillis,
        after: Option<&'a DueRecord>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DueRecord>, StoreError>> {
        Box::pin(async move { self.layers.due(duty, until, after, limit) })
    }
}
