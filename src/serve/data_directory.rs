//! The data directory before it is opened: which parts of a relay it has, and whether they are
//! complete.
//! `serve`, commands that work while no relay runs, and `doctor` open a store through here. A store
//! without its sealing key, or the key, audit log or revocations of a relay without their store,
//! was copied or mounted wrongly. A start would make a new relay without a word and orphan every
//! client and device, so it is refused before the first write.
//!
//! A first start makes the key and the store one after the other. [`FIRST_START`] exists in the
//! meantime, so that an interrupted first start is not taken for a loss.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::{
    AUDIT_DIR, REVOCATIONS_FILE, SEAL_KEY_FILE, STORE_FILE, StartError, audit_dir, due_rules,
};
use crate::app::audit;
use crate::backends::embedded::{FileStore, StoreFile, StoreOpenError};
use crate::config::Config;
use crate::private_file;
use crate::security::encryption::Encryptor;

/// Marker file: exists from the beginning of a first start until key and store are complete.
pub const FIRST_START: &str = "first-start";

/// A data directory that is not opened yet.
#[derive(Clone, Debug)]
pub struct DataDirectory {
    path: PathBuf,
    audit: PathBuf,
}

/// The parts of a relay in a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing, or the remains of an interrupted first start.
    Fresh,
    /// A store and its sealing key. Other parts are optional: the list of revocations is made with
    /// the first of them, and the audit log may be off or archived.
    Complete,
}

/// A part is missing that the others need.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct IncompleteDirectory {
    directory: PathBuf,
    missing: &'static str,
    is_empty: bool,
    beside: Vec<String>,
}

impl IncompleteDirectory {
    fn text(&self) -> String {
        let Self { directory, missing, is_empty, beside } = self;
        let how = if *is_empty { "empty" } else { "missing" };
        let path = directory.join(missing);
        format!(
            "{} is {how}, but a relay left {} beside it: nothing was changed",
            path.display(),
            beside.join(", ")
        )
    }

    #[must_use]
    pub fn remedy(&self) -> String {
        format!(
            "restore {} from the backup of these files, or correct data_dir; or, to start without \
             any client and phone, move these files away: {}",
            self.missing,
            self.beside.join(", ")
        )
    }
}

impl DataDirectory {
    /// The data directory of a configuration, by its absolute path.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self { path: absolute(&config.data_dir), audit: absolute(&audit_dir(config)) }
    }

    /// The data directory at a path, with the audit log at its default place.
    #[cfg(any(feature = "rig", feature = "test-support"))]
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let path = absolute(path);
        Self { audit: path.join(AUDIT_DIR), path }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn store_file(&self) -> PathBuf {
        self.path.join(STORE_FILE)
    }

    /// Checks the directory without changing it.
    ///
    /// # Errors
    /// [`IncompleteDirectory`].
    pub fn contents(&self) -> Result<Contents, IncompleteDirectory> {
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
        // Audit log and revocations are made only after a first start.
        let began = beside.iter().all(|part| [STORE_FILE, SEAL_KEY_FILE].contains(&part.as_str()));
        if beside.is_empty() || began && self.path.join(FIRST_START).exists() {
            return Ok(Contents::Fresh);
        }
        let missing = if store { SEAL_KEY_FILE } else { STORE_FILE };
        let is_empty = self.path.join(missing).exists();
        Err(IncompleteDirectory { directory: self.path.clone(), missing, is_empty, beside })
    }

    /// Opens the store; makes it and its sealing key if the directory is fresh.
    ///
    /// # Errors
    /// [`StartError::Incomplete`], before anything is changed; else those of the store or the key.
    pub fn open(&self) -> Result<FileStore, StartError> {
        match self.contents()? {
            Contents::Complete => {
                // Opening a store writes to it, so the key is checked first.
                Encryptor::load(&self.path.join(SEAL_KEY_FILE))?;
                let store = FileStore::open(&self.store_file(), &due_rules())?;
                // A first start was interrupted at its very end.
                drop(std::fs::remove_file(self.path.join(FIRST_START)));
                Ok(store)
            }
            Contents::Fresh => self.make(),
        }
    }

    fn make(&self) -> Result<FileStore, StartError> {
        let mark = self.path.join(FIRST_START);
        let failed = |source| StoreOpenError::Io { path: self.path.clone(), source };
        private_file::create_directory(&self.path).map_err(failed)?;
        let was_interrupted = mark.exists();
        File::create(&mark).and_then(|mark| mark.sync_all()).map_err(failed)?;
        private_file::sync_directory(&mark).map_err(failed)?;
        // The store first: its lock keeps another process from making a key of its own.
        let store = match FileStore::open(&self.store_file(), &due_rules()) {
            // A power cut while the file was made: it never held anything.
            Err(StoreOpenError::Damaged { .. }) if was_interrupted => {
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

/// Size of a file; 0 if there is none.
fn length(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |found| found.len())
}

fn absolute(path: &Path) -> PathBuf {
    // Fails only for an empty path or without a working directory.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
