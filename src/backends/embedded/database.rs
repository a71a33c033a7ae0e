//! The database file: opening it, sharing it between readers and the one writer, and opening it
//! again after the disk failed.
//!
//! redb refuses everything after an input or output error until the file is closed and opened
//! again, since what it holds in memory may no longer be what is on the disk. After a refusal for
//! want of room [`Database::fail`] closes the file, and the next access opens it. Any other error
//! ends the store for this process: the log has what the tables lack.
//!
//! Each opening verifies the checksum of every page, so that no relay serves from a damaged file.
//! Damage that is met later ends the store for this process ([`Database::damage`]): the next start
//! verifies again and decides.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{DatabaseError, ReadTransaction, ReadableDatabase as _, WriteTransaction};
use tokio_util::sync::CancellationToken;

use super::guard::guarded;
use super::log::is_refusal;
use super::migrate::migrate;
use super::store_file::{OpenStoreFile, StoreFile, TablesFile};
use super::tables::{Meta, TablesReader};
use crate::ports::{DueRule, StoreError};
use crate::private_file;

/// Memory for cached pages, in bytes. redb's default of 1 GiB is more than a relay's machine may
/// have; 100,000 ceremonies with their indexes fit into this.
pub(super) const CACHE: usize = 256 * 1024 * 1024;

/// Memory for cached pages while the file is verified, in bytes.
const VERIFY_CACHE: usize = 16 * 1024 * 1024;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// The directory or the file cannot be made or read.
    #[error("cannot open {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// Another process has it open.
    #[error(
        "{} is in use by another process: one relay at a time may use a data directory",
        path.display()
    )]
    InUse { path: PathBuf },
    /// It is damaged, or no store of this program.
    #[error("cannot use {} as the store, it is damaged or no store of this version: {reason}", path.display())]
    Damaged {
        path: PathBuf,
        /// The error of redb or of the log.
        reason: String,
    },
    /// The operating system refused a thread.
    #[error("cannot start the store's writer: {0}")]
    Thread(io::Error),
}

impl StoreOpenError {
    /// What an operator can do about it, where that does not follow from the error itself.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Damaged { .. } => Some(REMEDY_FOR_DAMAGE),
            Self::Io { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory
                ) =>
            {
                Some("move the file in its way elsewhere, or correct data_dir")
            }
            Self::Io { .. } => {
                Some("run this as the relay's user, and let that user read and write the file")
            }
            Self::InUse { .. } | Self::Thread(_) => None,
        }
    }
}

/// What an operator can do about a damaged store.
const REMEDY_FOR_DAMAGE: &str = "look into the machine's log for errors of the disk and bring \
    relay.redb back from its newest backup; or, to begin anew, with every client and phone made \
    again, move the whole content of the data directory away";

/// The tables' file; closed after some errors and opened again at the next access.
pub(super) struct Database {
    /// The file's name in log lines and errors.
    path: PathBuf,
    parts: Arc<OpenStoreFile>,
    cache: usize,
    /// The id of this process's opening of the store ([`Meta::opening`]).
    opening: OnceLock<[u8; 16]>,
    current: RwLock<Option<redb::Database>>,
    damage: OnceLock<String>,
    damaged: CancellationToken,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the tables, or makes them. Errors name `path`.
    pub(super) fn open(
        path: &Path,
        parts: Arc<OpenStoreFile>,
        rules: &[DueRule],
        cache: usize,
    ) -> Result<(Self, Meta), StoreOpenError> {
        let opened = guarded(|| {
            // Verified with a small cache of its own: the pages that it reads would stay in the other.
            let mut verifying = redb::Builder::new();
            verifying.set_cache_size(VERIFY_CACHE).set_check_integrity_on_open(true);
            open(&verifying, &*parts)?.close()?;
            let database = open(redb::Builder::new().set_cache_size(cache), &*parts)?;
            let meta = migrate(&database, rules)?;
            Ok((database, meta))
        });
        let (database, meta) = opened.map_err(|error| open_error(path.to_owned(), error))?;
        let database = Self {
            path: path.to_owned(),
            parts,
            cache,
            opening: OnceLock::new(),
            current: RwLock::new(Some(database)),
            damage: OnceLock::new(),
            damaged: CancellationToken::new(),
        };
        Ok((database, meta))
    }

    /// Sets the opening that the file must still belong to when it is opened again.
    pub(super) fn set_opening(&self, opening: [u8; 16]) {
        self.opening.get_or_init(|| opening);
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A snapshot of the tables.
    pub(super) fn read(&self) -> Result<TablesReader, StoreError> {
        self.guard(|| {
            let transaction: ReadTransaction =
                self.with_open(|database| Ok(database.begin_read()?))?;
            Ok(TablesReader::new(transaction))
        })
    }

    /// Runs an operation on the file's content. After an error that redb does not recover from, the
    /// file is closed.
    pub(super) fn guard<T>(
        &self,
        work: impl FnOnce() -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        guarded(work).map_err(|error| self.fail(&error))
    }

    pub(super) fn write(&self) -> Result<WriteTransaction, redb::Error> {
        self.with_open(|database| Ok(database.begin_write()?))
    }

    /// Closes the file if redb will refuse everything from now on, so that the next access opens it
    /// again, or for good if its content cannot be trusted any more.
    fn fail(&self, error: &redb::Error) -> StoreError {
        let is_damage = is_damage(error);
        let closes = is_damage
            || matches!(
                error,
                redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::Backend(_)
            );
        if is_damage {
            self.damage(error);
        } else if let redb::Error::Io(source) = error
            && !is_refusal(source)
        {
            // Pages of a failed flush may never reach the disk, and later flushes do not report it.
            // The log still has these changes: the next start applies them.
            self.fence(format!("the file of its tables failed: {source}"));
        }
        if closes && self.take().is_some() && !is_damage {
            tracing::error!(%error, "the store's file failed and will be opened again");
        }
        match self.damage.get() {
            Some(damage) => StoreError::Fenced(damage.clone()),
            None => StoreError::Unavailable(error.to_string()),
        }
    }

    /// Resolves with the reason once the store is fenced.
    pub(super) async fn damaged(&self) -> String {
        self.damaged.cancelled().await;
        self.damage.get().cloned().unwrap_or_default()
    }

    fn damage(&self, error: &redb::Error) {
        let path = self.path.clone();
        let text = format!(
            "{}. To go on, {REMEDY_FOR_DAMAGE}",
            StoreOpenError::Damaged { path, reason: error.to_string() }
        );
        if self.fence(text) {
            tracing::error!(path = %self.path.display(), %error, "the store is damaged");
        }
    }

    /// Fences the store: this process may not use it again. Returns whether it was not fenced before.
    pub(super) fn fence(&self, why: String) -> bool {
        let first = self.damage.set(why).is_ok();
        if first {
            self.damaged.cancel();
        }
        first
    }

    /// The error that every operation gets once the store is fenced.
    pub(super) fn fenced(&self) -> Option<StoreError> {
        self.damage.get().cloned().map(StoreError::Fenced)
    }

    fn take(&self) -> Option<()> {
        let database = self.current.write().unwrap_or_else(PoisonError::into_inner).take()?;
        // Dropping it may meet the same damage.
        drop(guarded(|| {
            drop(database);
            Ok(())
        }));
        Some(())
    }

    /// Flushes and closes the file for good.
    pub(super) fn close(&self) {
        let database = self.current.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(database) = database else { return };
        if let Err(error) = guarded(|| Ok(database.close()?)) {
            tracing::warn!(%error, "the store's file could not be closed cleanly");
        }
    }

    fn with_open<T>(
        &self,
        use_it: impl FnOnce(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        if let Some(database) = &*self.current.read().unwrap_or_else(PoisonError::into_inner) {
            return use_it(database);
        }
        if self.damaged.is_cancelled() {
            return Err(redb::Error::Corrupted("the store is damaged".to_owned()));
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let database = match current.take() {
            Some(opened_meanwhile) => opened_meanwhile,
            None => {
                let database = open(redb::Builder::new().set_cache_size(self.cache), &*self.parts)?;
                // The file was not locked while it was closed.
                if self.opening.get().is_some_and(|ours| Meta::opening(&database) != Some(*ours)) {
                    self.fence("another process used the store meanwhile".to_owned());
                    return Err(redb::Error::Corrupted("it is another process's".to_owned()));
                }
                database
            }
        };
        use_it(current.insert(database))
    }
}

/// Sorts redb's errors by what an operator can do about them.
fn open_error(path: PathBuf, error: redb::Error) -> StoreOpenError {
    if matches!(error, redb::Error::DatabaseAlreadyOpen) {
        return StoreOpenError::InUse { path };
    }
    let reason = error.to_string();
    if let redb::Error::Io(source) = error
        && !is_damaged_read(&source)
    {
        return StoreOpenError::Io { path, source };
    }
    StoreOpenError::Damaged { path, reason }
}

/// Whether the error shows that the file's content was changed after it was written: redb says so,
/// a table that every opening makes is missing, or a panic has poisoned the library's state.
fn is_damage(error: &redb::Error) -> bool {
    if let redb::Error::Io(source) = error {
        return is_damaged_read(source);
    }
    matches!(
        error,
        redb::Error::Corrupted(_)
            | redb::Error::LockPoisoned(_)
            | redb::Error::TransactionPoisoned
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableDoesNotExist(_)
    )
}

/// A file that ends too early or lacks the magic number of a store.
fn is_damaged_read(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn open(builder: &redb::Builder, parts: &OpenStoreFile) -> Result<redb::Database, DatabaseError> {
    builder.create_with_backend(TablesFile(parts(StoreFile::Tables)?))
}

/// Makes the store's files where they are missing: the tables in `path`, the log's files beside it.
pub(super) fn files(path: &Path) -> Result<Arc<OpenStoreFile>, StoreOpenError> {
    let failed = |source| StoreOpenError::Io { path: path.to_owned(), source };
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        private_file::create_directory(directory)
            .map_err(|source| StoreOpenError::Io { path: directory.to_owned(), source })?;
    }
    let path = path.to_owned();
    for part in StoreFile::ALL {
        let file = part.file(&path);
        let new = !file.exists();
        drop(open_file(&file).map_err(failed)?);
        if new {
            private_file::sync_directory(&file).map_err(failed)?;
        }
    }
    Ok(Arc::new(move |part: StoreFile| {
        let file = FileBackend::new(open_file(&part.file(&path))?).map_err(io::Error::other)?;
        Ok(Box::new(file) as Box<_>)
    }))
}

/// Opens a file of the store, or makes it empty.
fn open_file(path: &Path) -> io::Result<File> {
    private_file::options().read(true).write(true).create(true).truncate(false).open(path)
}
