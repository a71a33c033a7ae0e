//! The files of a store, and how they are opened, so that a test can inject faults.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use redb::{BackendError, StorageBackend};

/// A file of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreFile {
    /// The tables. The process that has them open holds the store's lock.
    Tables,
    /// One of the log's two files.
    Log(LogSlot),
}

/// The log's two files, which generations use alternately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogSlot {
    Even,
    Odd,
}

impl LogSlot {
    pub(super) fn of(generation: u64) -> Self {
        if generation.is_multiple_of(2) { Self::Even } else { Self::Odd }
    }
}

impl StoreFile {
    pub const ALL: [Self; 3] = [Self::Tables, Self::Log(LogSlot::Even), Self::Log(LogSlot::Odd)];

    /// The path of the file in the store whose tables lie at `tables`.
    #[must_use]
    pub fn file(self, tables: &Path) -> PathBuf {
        match self {
            Self::Tables => tables.to_owned(),
            Self::Log(LogSlot::Even) => tables.with_extension("log0"),
            Self::Log(LogSlot::Odd) => tables.with_extension("log1"),
        }
    }
}

/// Opens a file; called again after a failure. A file that does not exist is empty.
pub type OpenStoreFile = dyn Fn(StoreFile) -> io::Result<Box<dyn StorageBackend>> + Send + Sync;

/// Makes a boxed backend a [`StorageBackend`], which redb wants by value.
#[derive(Debug)]
pub(super) struct TablesFile(pub(super) Box<dyn StorageBackend>);

impl StorageBackend for TablesFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }
}
