//! The data directory before anything in it is opened: which parts of a relay lie there, and
//! whether they belong together.
//!
//! Everything that opens a store comes through here: `serve`, the commands that work while no relay
//! runs, and `doctor`. A store without its sealing key, or the key, audit log or revocations of a
//! relay without their store, is a mistake in copying or mounting it. Starting on it would
//! make a new relay in silence and orphan every client and phone, so it is refused before the first
//! write.
//!
//! A first start makes the key and the store one after the other. [`FIRST_START`] lies in the
//! directory while it does, so that a first start that was cut off is not taken for a loss.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{
    AUDIT_DIR, REVOCATIONS_FILE, SEAL_KEY_FILE, STORE_FILE, StartError, audit_dir, due_rules,
};
use crate::app::audit;
use crate::backends::embedded::{FileStore, OpenError, StoreFile};
use crate::config::Config;
use crate::private_file;
use crate::security::encryption::Encryptor;

/// Lies in the data directory from the beginning of a first start until key and store are whole.
pub const FIRST_START: &str = "first-start";

/// A data directory that was not opened yet.
#[derive(Clone, Debug)]
pub struct DataDirectory {
    path: PathBuf,
    audit: PathBuf,
}

/// What lies in a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing of a relay, or what a first start left that was cut off.
    Fresh,
    /// A store and its sealing key. The other parts come and go: the list of revocations is made
    /// with the first of them, and the audit log may be off or archived.
    Complete,
}

/// A part without which the others are of no use is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.says())]
pub struct Incomplete {
    directory: PathBuf,
    missing: &'static str,
    is_empty: bool,
    beside: Vec<String>,
}

impl Incomplete {
    fn says(&self) -> String {
        let Self { directory, missing, is_empty, beside } = self;
        let how = if *is_empty { "empty" } else { "missing" };
        let path = directory.join(missing);
        format!(
            "{} is {how}, but a relay left {} beside it: nothing was changed",
            path.display(),
            beside.join(", ")
        )
    }

    /// What an operator can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        format!(
            "bring {} back from the backup that belongs to these files, or correct data_dir; or, to \
             begin anew, with every client and phone made again, move them away: {}",
            self.missing,
            self.beside.join(", ")
        )
    }
}

impl DataDirectory {
    /// The one of this configuration, by its absolute path.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self { path: absolute(&config.data_dir), audit: absolute(&audit_dir(config)) }
    }

    /// One at this path, with its audit log where it lies by default.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let path = absolute(path);
        Self { audit: path.join(AUDIT_DIR), path }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The store's file in it.
    #[must_use]
    pub fn store_file(&self) -> PathBuf {
        self.path.join(STORE_FILE)
    }

    /// Looks, and touches nothing.
    ///
    /// # Errors
    /// [`Incomplete`].
    pub fn contents(&self) -> Result<Contents, Incomplete> {
        let has = |name: &str| length(&self.path.join(name)) > 0;
        let (store, key) = (has(STORE_FILE), has(SEAL_KEY_FILE));
        if store && key {
            return Ok(Contents::Complete);
        }
        let files = [STORE_FILE, SEAL_KEY_FILE, REVOCATIONS_FILE];
        let mut beside: Vec<_> =
            files.into_iter().filter(|name| has(name)).map(str::to_owned).collect();
        if audit::segments(&self.audit).is_ok_and(|segments| !segments.is_empty()) {
            let within = self.audit.strip_prefix(&self.path).unwrap_or(&self.audit);
            beside.push(within.display().to_string());
        }
        // Neither audit log nor revocations are made before a first start is over.
        let began = beside.iter().all(|part| [STORE_FILE, SEAL_KEY_FILE].contains(&part.as_str()));
        if beside.is_empty() || began && self.path.join(FIRST_START).exists() {
            return Ok(Contents::Fresh);
        }
        let missing = if store { SEAL_KEY_FILE } else { STORE_FILE };
        let is_empty = self.path.join(missing).exists();
        Err(Incomplete { directory: self.path.clone(), missing, is_empty, beside })
    }

    /// Opens the store, made with its sealing key if the directory is fresh.
    ///
    /// # Errors
    /// [`StartError::Incomplete`], and then nothing was touched; else the store's or the key's.
    pub fn open(&self) -> Result<FileStore, StartError> {
        match self.contents()? {
            Contents::Complete => {
                // Opening a store writes to it, so a key that is none is found before.
                Encryptor::load(&self.path.join(SEAL_KEY_FILE))?;
                let store = FileStore::open(&self.store_file(), &due_rules())?;
                // A first start that was cut off at its very end.
                drop(std::fs::remove_file(self.path.join(FIRST_START)));
                Ok(store)
            }
            Contents::Fresh => self.make(),
        }
    }

    fn make(&self) -> Result<FileStore, StartError> {
        let mark = self.path.join(FIRST_START);
        let failed = |source| OpenError::Io { path: self.path.clone(), source };
        private_file::create_directory(&self.path).map_err(failed)?;
        let was_cut_off = mark.exists();
        File::create(&mark).and_then(|mark| mark.sync_all()).map_err(failed)?;
        private_file::sync_directory(&mark).map_err(failed)?;
        // The store first: its lock keeps another process from making a key of its own.
        let store = match FileStore::open(&self.store_file(), &due_rules()) {
            // A power cut while its file was made: nothing was ever in it.
            Err(OpenError::Damaged { .. }) if was_cut_off => {
                for part in StoreFile::ALL {
                    std::fs::remove_file(part.file(&self.store_file())).map_err(failed)?;
                }
                FileStore::open(&self.store_file(), &due_rules())?
            }
            opened => opened?,
        };
        Encryptor::load_or_make(&self.path.join(SEAL_KEY_FILE))?;
        private_file::sync_directory(&mark).map_err(failed)?;
        std::fs::remove_file(&mark).map_err(failed)?;
        private_file::sync_directory(&mark).map_err(failed)?;
        Ok(store)
    }
}

/// Bytes of a file; 0 if there is none.
fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |found| found.len())
}

fn absolute(path: &Path) -> PathBuf {
    // Fails only for an empty path or without a working directory.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
