//! A directory for nobody else's eyes that goes away with the process that made it.

use std::path::{Path, PathBuf};

use fido_relay_kit::random;

/// The directory. Dropping it removes it and everything in it.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A new, empty one among the system's temporary directories, open to its owner alone.
    pub(crate) fn create() -> std::io::Result<Self> {
        // Short, because a Unix socket will be somewhere in it, whose path may have 107 bytes.
        let name = format!("fido-relay-{:08x}", random::below(1 << 32));
        let path = std::env::temp_dir().join(name);
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        // Fails if it exists: nobody can have prepared it.
        builder.create(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where a relay keeps its data in it.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.0.join("data")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in a temporary directory goes with the next cleaning.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
