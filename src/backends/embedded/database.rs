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

use std::fs::{File, OpenOptions};
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

/// Memory for cached pages, in bytes. redb's default of 1 GiB is more than a relay's machine may
/// have; 100,000 ceremonies with their indexes fit into this.
pub(super) const CACHE: usize = 256 * 1024 * 1024;

/// Memory for cached pages while the file is verified, in bytes.
const VERIFY_CACHE: usize = 16 * 1024 * 1024;

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
    /// It is damaged, or no store of this program.
    #[error("cannot use {} as the store, it is damaged or no store of this version: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What redb says.
        reason: String,
    },
    /// The operating system gave no thread for the writer.
    #[error("cannot start the store's writer: {0}")]
    Thread(io::Error),
}

impl OpenError {
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

/// The open database, or the place where it will be again.
pub(super) struct Database {
    /// What the log and errors call the file.
    path: PathBuf,
    parts: Arc<OpenStoreFile>,
    cache: usize,
    /// The opening of the store that this process made ([`Meta::opening`]).
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
    ) -> Result<(Self, Meta), OpenError> {
        let opened = guarded(|| {
            // Verified apart, because what it reads would stay in the cache for good.
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

    /// From now on the store is this opening's, also when its file is opened again.
    pub(super) fn belongs_to(&self, opening: [u8; 16]) {
        self.opening.get_or_init(|| opening);
    }

    /// What errors call the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A reader's view, unmoved by later writes.
    pub(super) fn read(&self) -> Result<TablesReader, StoreError> {
        self.guard(|| {
            let transaction: ReadTransaction =
                self.with_open(|database| Ok(database.begin_read()?))?;
            Ok(TablesReader::new(transaction))
        })
    }

    /// Runs what touches the file's content. After an error the file is closed where that helps.
    pub(super) fn guard<T>(
        &self,
        work: impl FnOnce() -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        guarded(work).map_err(|error| self.fail(&error))
    }

    /// The writer's transaction.
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
            // What a failed flush was to write may never reach the disk, and no later flush tells.
            // The log has it: the next start brings it into the tables.
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

    /// Whether the content of the file is known to be damaged, and how; resolves once it is.
    pub(super) async fn damaged(&self) -> String {
        self.damaged.cancelled().await;
        self.damage.get().cloned().unwrap_or_default()
    }

    fn damage(&self, error: &redb::Error) {
        let path = self.path.clone();
        let text = format!(
            "{}. To go on, {REMEDY_FOR_DAMAGE}",
            OpenError::Damaged { path, reason: error.to_string() }
        );
        if self.fence(text) {
            tracing::error!(path = %self.path.display(), %error, "the store is damaged");
        }
    }

    /// Ends the store for this process; tells whether it was not ended before.
    pub(super) fn fence(&self, why: String) -> bool {
        let first = self.damage.set(why).is_ok();
        if first {
            self.damaged.cancel();
        }
        first
    }

    /// Why the store is ended for this process, if it is.
    pub(super) fn fenced(&self) -> Option<StoreError> {
        self.damage.get().cloned().map(StoreError::Fenced)
    }

    fn take(&self) -> Option<()> {
        let database = self.current.write().unwrap_or_else(PoisonError::into_inner).take()?;
        // What it does when it is dropped may meet the same damage.
        drop(guarded(|| {
            drop(database);
            Ok(())
        }));
        Some(())
    }

    /// Closes the file for good and flushes what is left to flush.
    pub(super) fn close(&self) {
        let database = self.current.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(database) = database else { return };
        if let Err(error) = guarded(|| Ok(database.close()?)) {
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
        if self.damaged.is_cancelled() {
            return Err(redb::Error::Corrupted("the store is damaged".to_owned()));
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let database = match current.take() {
            Some(opened_meanwhile) => opened_meanwhile,
            None => {
                let database = open(redb::Builder::new().set_cache_size(self.cache), &*self.parts)?;
                // While it was closed nothing kept another process from it.
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

/// What an operator can do about it decides the kind; the rest is a file that cannot be used.
fn open_error(path: PathBuf, error: redb::Error) -> OpenError {
    if matches!(error, redb::Error::DatabaseAlreadyOpen) {
        return OpenError::InUse { path };
    }
    let reason = error.to_string();
    if let redb::Error::Io(source) = error
        && !is_damaged_read(&source)
    {
        return OpenError::Io { path, source };
    }
    OpenError::Damaged { path, reason }
}

/// Whether the file's content is not what was written: it says so itself, it lacks what every
/// opening makes, or a panic has left the library's own state behind.
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

/// A file that ends too early, or does not begin as a store does.
fn is_damaged_read(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn open(builder: &redb::Builder, parts: &OpenStoreFile) -> Result<redb::Database, DatabaseError> {
    builder.create_with_backend(TablesFile(parts(StoreFile::Tables)?))
}

/// Each part of a store in a file of its own: the tables in `path`, the log's files beside it.
pub(super) fn files(path: &Path) -> Result<Arc<OpenStoreFile>, OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), source };
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_private_directory(directory)
            .map_err(|source| OpenError::Io { path: directory.to_owned(), source })?;
    }
    let path = path.to_owned();
    for part in StoreFile::ALL {
        let file = part.file(&path);
        let new = !file.exists();
        drop(private_file(&file).map_err(failed)?);
        if new {
            sync_directory(&file).map_err(failed)?;
        }
    }
    Ok(Arc::new(move |part: StoreFile| {
        let file = private_file(&part.file(&path))?;
        let file = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Box::new(file) as Box<_>)
    }))
}

/// Makes a directory that only this user may enter; one that exists keeps its permissions.
///
/// # Errors
/// The operating system's.
pub fn make_private_directory(directory: &Path) -> io::Result<()> {
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

/// Makes the name of a new file as durable as its content, by flushing the directory it lies in.
///
/// # Errors
/// The operating system's.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}
