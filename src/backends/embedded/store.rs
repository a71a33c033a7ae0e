//! The store's contract kept in one redb file: durable before it is acknowledged, readers never
//! wait for the writer.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use redb::ReadOnlyTable;
use tokio::sync::{mpsc, oneshot};

use super::database::{Database, OpenError, Record};
use super::writer::{self, LastCommit, Order, Work};
use crate::ports::{Batch, BoxFuture, Bucket, Revision, Store, StoreError, Stored};

/// Records that a listing reads before it lets other tasks run.
const LIST_STRIDE: usize = 256;
/// How long a commit says that the next one will do.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// How long a commit that failed says that the next one will fail.
const BAD_FOR: Duration = Duration::from_millis(500);

/// Records in one file, which this process has for itself. Dropping it finishes every write that
/// was handed over and closes the file; the drop waits for that.
#[derive(Debug)]
pub struct FileStore {
    database: Arc<Database>,
    queue: Option<mpsc::Sender<Order>>,
    writer: Option<JoinHandle<()>>,
    last_commit: LastCommit,
    /// Held during a trial write.
    trial: tokio::sync::Mutex<()>,
    good_for: Duration,
}

impl FileStore {
    /// Opens the file, making it and its directory if they do not exist (readable by this user
    /// alone).
    ///
    /// # Errors
    /// [`OpenError`]: another process has it open, or it cannot be made, read or understood.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::start(Database::open_file(path)?)
    }

    /// Opens by `open`, which is called again whenever the file failed. For a file that is not
    /// simply one of this machine's; `path` is what errors call it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open_by(
        path: &Path,
        open: impl Fn() -> Result<redb::Database, redb::DatabaseError> + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        Self::start(Database::open_by(path, Box::new(open))?)
    }

    pub(super) fn start(database: Database) -> Result<Self, OpenError> {
        let database = Arc::new(database);
        let (queue, mut waiting) = mpsc::channel(writer::QUEUE);
        let last_commit = LastCommit::of_opening();
        let (writers, commits) = (Arc::clone(&database), last_commit.clone());
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer::run(&writers, &mut waiting, &commits))
            .map_err(OpenError::Thread)?;
        Ok(Self {
            database,
            queue: Some(queue),
            writer: Some(writer),
            last_commit,
            trial: tokio::sync::Mutex::default(),
            good_for: GOOD_FOR,
        })
    }

    /// Tries a write each time that it is asked whether it can, and not at a pace.
    #[must_use]
    pub fn always_trying(mut self) -> Self {
        self.good_for = Duration::ZERO;
        self
    }

    /// Tells how the last commit ended if that is recent enough, or tries another, one at a time.
    async fn try_write(&self) -> Result<(), StoreError> {
        let known = || {
            let (at, ended) = self.last_commit.get();
            let good_for = if ended.is_ok() { self.good_for } else { BAD_FOR };
            (ended, at.elapsed() < good_for)
        };
        let (ended, is_recent) = known();
        let Ok(_one) = self.trial.try_lock() else { return ended };
        if is_recent {
            return ended;
        }
        self.write(Work::Trial).await.map(drop)
    }

    async fn write(&self, work: Work) -> Result<Revision, StoreError> {
        let gone = || StoreError::Unavailable("the store's writer has ended".to_owned());
        let (reply, result) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        queue.send(Order { work, reply }).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    fn get(&self, bucket: Bucket, key: &str) -> Result<Option<Stored>, StoreError> {
        let table = self.database.read(bucket)?;
        self.database.guard(move || Ok(table.get(key)?.map(|found| stored(found.value()))))
    }

    /// Reads on from `from`, at most [`LIST_STRIDE`] records; tells whether there may be more.
    fn list_some(
        &self,
        table: &ReadOnlyTable<&'static str, Record>,
        prefix: &str,
        after: Option<&str>,
        found: &mut Vec<(String, Stored)>,
    ) -> Result<bool, StoreError> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        self.database.guard(|| {
            for (nth, entry) in table.range::<&str>((from, Bound::Unbounded))?.enumerate() {
                if nth == LIST_STRIDE {
                    return Ok(true);
                }
                let (key, value) = entry?;
                if !key.value().starts_with(prefix) {
                    return Ok(false);
                }
                found.push((key.value().to_owned(), stored(value.value())));
            }
            Ok(false)
        })
    }
}

fn stored((revision, value): (u64, &[u8])) -> Stored {
    Stored { revision: Revision(revision), value: value.to_vec(), due: None }
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
    fn damaged(&self) -> BoxFuture<'_, String> {
        Box::pin(self.database.damaged())
    }

    fn writable(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.try_write())
    }

    fn load<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        // Read where it is asked for: a record is in the page cache nearly always, and handing the
        // read to another thread would cost more than the read.
        Box::pin(async move { self.get(bucket, key) })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            batch.validate()?;
            self.write(Work::Commit(batch)).await
        })
    }

    fn list<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(async move {
            let table = self.database.read(bucket)?;
            let mut found: Vec<(String, Stored)> = Vec::new();
            let mut last: Option<String> = None;
            while self.list_some(&table, prefix, last.as_deref(), &mut found)? {
                last = found.last().map(|(key, _)| key.clone());
                tokio::task::yield_now().await;
            }
            Ok(found)
        })
    }

    fn page<'a>(
        &'a self,
        bucket: Bucket,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(async move {
            use std::ops::Bound;
            let table = self.database.read(bucket)?;
            self.database.guard(move || {
                let range = (Bound::Excluded(after), Bound::Unbounded);
                let mut found = Vec::new();
                for entry in table.range::<&str>(range)?.take(limit) {
                    let (key, value) = entry?;
                    found.push((key.value().to_owned(), stored(value.value())));
                }
                Ok(found)
            })
        })
    }
}
