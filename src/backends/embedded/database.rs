//! The database file: opening it, sharing it between readers and the one writer, and opening it
//! again after the disk failed.
//!
//! redb refuses everything after an input or output error until the file is closed and opened
//! again, since what it holds in memory may no longer be what is on the disk. So whoever meets
//! such an error closes the file ([`Database::fail`]) and the next access opens it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{
    DatabaseError, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, StorageError,
    TableDefinition, WriteTransaction,
};

use crate::ports::{Bucket, StoreError};

/// A record: its revision and its bytes.
pub(super) type Record = (u64, &'static [u8]);

/// Counters of the store itself.
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
/// The one counter that every write of every bucket draws its revision from.
const REVISION: &str = "revision";

/// Memory for cached pages, in bytes. redb's default of 1 GiB is more than a relay's machine may
/// have; 100,000 ceremonies with their indexes fit into this.
const CACHE: usize = 256 * 1024 * 1024;

/// Why the store's file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or the file cannot be made or read.
    #[error("cannot open {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it open.
    #[error(
        "{} is in use by another process: one relay at a time may use a data directory",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is no store of this program, or it is damaged.
    #[error("cannot use {} as the store: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What redb says.
        reason: String,
    },
    /// The operating system gave no thread for the writer.
    #[error("cannot start the store's writer: {0}")]
    Thread(io::Error),
}

/// Opens the database; called again after a failure.
pub(super) type Opener = Box<dyn Fn() -> Result<redb::Database, DatabaseError> + Send + Sync>;

/// The open database, or the place where it will be again.
pub(super) struct Database {
    open: Opener,
    current: RwLock<Option<redb::Database>>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    /// Opens or makes the file, its directory and its tables.
    pub(super) fn open_file(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            make_private_directory(directory)
                .map_err(|source| OpenError::Io { path: directory.to_owned(), source })?;
        }
        let new = !path.exists();
        drop(private_file(path).map_err(failed)?);
        if new {
            sync_directory(path).map_err(failed)?;
        }
        let file = path.to_owned();
        let opener = move || {
            redb::Builder::new()
                .set_cache_size(CACHE)
                .create_with_backend(FileBackend::new(private_file(&file)?)?)
        };
        Self::open_by(path, Box::new(opener))
    }

    /// [`Database::open_with`], with errors that name the file.
    pub(super) fn open_by(path: &Path, open: Opener) -> Result<Self, OpenError> {
        Self::open_with(open).map_err(|error| open_error(path.to_owned(), error))
    }

    /// Opens by `open` and makes the tables, so that readers always find them.
    pub(super) fn open_with(open: Opener) -> Result<Self, redb::Error> {
        let database = open()?;
        let transaction = database.begin_write()?;
        for bucket in Bucket::ALL {
            transaction.open_table(records(bucket))?;
        }
        transaction.open_table(META)?;
        transaction.commit()?;
        Ok(Self { open, current: RwLock::new(Some(database)) })
    }

    /// A reader's view of one bucket, unmoved by later writes.
    pub(super) fn read(
        &self,
        bucket: Bucket,
    ) -> Result<ReadOnlyTable<&'static str, Record>, StoreError> {
        let begin = || -> Result<_, redb::Error> {
            let transaction: ReadTransaction =
                self.with_open(|database| Ok(database.begin_read()?))?;
            Ok(transaction.open_table(records(bucket))?)
        };
        begin().map_err(|error| self.fail(&error))
    }

    /// The writer's transaction.
    pub(super) fn write(&self) -> Result<WriteTransaction, redb::Error> {
        self.with_open(|database| Ok(database.begin_write()?))
    }

    /// Tells the caller that the store is unavailable and, if redb will refuse everything from
    /// now on, closes the file so that the next access opens it again.
    pub(super) fn fail(&self, error: &redb::Error) -> StoreError {
        let closes = matches!(
            error,
            redb::Error::Io(_)
                | redb::Error::PreviousIo
                | redb::Error::Backend(_)
                | redb::Error::Corrupted(_)
                | redb::Error::LockPoisoned(_)
        );
        if closes && self.current.write().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::error!(%error, "the store's file failed and will be opened again");
        }
        StoreError::Unavailable(error.to_string())
    }

    /// Closes the file for good and flushes what is left to flush.
    pub(super) fn close(&self) {
        let database = self.current.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = database.map(redb::Database::close) {
            tracing::warn!(%error, "closing the store");
        }
    }

    fn with_open<T>(
        &self,
        use_it: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        if let Some(database) = &*self.current.read().unwrap_or_else(PoisonError::into_inner) {
            return use_it(database);
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let database = match current.take() {
            Some(opened_meanwhile) => opened_meanwhile,
            None => (self.open)()?,
        };
        use_it(current.insert(database))
    }
}

/// What an operator can do about it decides the kind; the rest is a file that cannot be used.
fn open_error(path: PathBuf, error: redb::Error) -> OpenError {
    if matches!(error, redb::Error::DatabaseAlreadyOpen) {
        return OpenError::InUse { path };
    }
    let reason = error.to_string();
    if let redb::Error::Io(source) = error
        && source.kind() != io::ErrorKind::InvalidData
    {
        return OpenError::Io { path, source };
    }
    OpenError::Unusable { path, reason }
}

/// The table of a bucket.
pub(super) fn records(bucket: Bucket) -> TableDefinition<'static, &'static str, Record> {
    TableDefinition::new(bucket.name())
}

/// The last revision given.
pub(super) fn last_revision(transaction: &WriteTransaction) -> Result<u64, redb::Error> {
    use redb::ReadableTable as _;
    let table = transaction.open_table(META)?;
    let last = table.get(REVISION)?.map_or(0, |revision| revision.value());
    Ok(last)
}

/// Remembers the last revision given.
pub(super) fn set_last_revision(
    transaction: &WriteTransaction,
    revision: u64,
) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert(REVISION, revision)?;
    Ok(())
}

/// What reading one record failed with, in the type that [`Database::fail`] takes.
pub(super) fn read_error(error: StorageError) -> redb::Error {
    error.into()
}

/// Makes a directory that only this user may enter; one that exists keeps its permissions.
fn make_private_directory(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Opens or makes a file that only this user may read; one that exists keeps its permissions.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a new file's name as durable as its content.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
