//! A private temporary directory.

use std::path::{Path, PathBuf};

use fido_relay_kit::random;

/// A directory that is removed with its contents when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A new directory with mode 0700 in the system's temporary directory.
    pub(crate) fn create() -> std::io::Result<Self> {
        // Short, because the path of a Unix socket in it may have at most 107 bytes.
        let name = format!("fido-relay-{:08x}", random::below(1 << 32));
        let path = std::env::temp_dir().join(name);
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        // Fails if it exists, so no other user can have prepared it.
        builder.create(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The data directory of a relay in it.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Remains are left to the system's cleaning of temporary directories.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
