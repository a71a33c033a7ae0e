//! A credential in a file, read again when the file has changed. If the new content cannot be used,
//! the credential before it stays in use, and that is logged once per change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Mutex;

/// Bytes of a file that are read; a service account has 2.4 KiB.
const FILE_MAX: u64 = 64 * 1024;

/// Reads a credential out of a file's bytes; an error repeats nothing of them.
pub(super) type ParseCredential<T> = Box<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

/// Modification time and size, by which a change is detected.
type FileStamp = (Option<SystemTime>, u64);

/// The credential of one file, parsed by `parse`.
pub(super) struct CredentialFile<T> {
    file: PathBuf,
    parse: ParseCredential<T>,
    cached: Mutex<CachedCredential<T>>,
}

struct CachedCredential<T> {
    value: Arc<T>,
    /// Of the content that was read last, usable or not.
    stamp: Option<FileStamp>,
}

impl<T> std::fmt::Debug for CredentialFile<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialFile").field("file", &self.file).finish_non_exhaustive()
    }
}

impl<T> CredentialFile<T> {
    /// # Errors
    /// Why the file cannot be used, with its name.
    pub(super) fn open(file: &Path, parse: ParseCredential<T>) -> Result<Self, String> {
        let named = |why: String| format!("{}: {why}", file.display());
        let stamp = stamp(file).map_err(|error| named(error.to_string()))?;
        let value = Arc::new(bytes(file).and_then(|bytes| parse(&bytes)).map_err(named)?);
        let cached = Mutex::new(CachedCredential { value, stamp: Some(stamp) });
        Ok(Self { file: file.to_owned(), parse, cached })
    }

    /// The credential, read again if the file has changed.
    pub(super) async fn get(&self) -> Arc<T> {
        let mut cached = self.cached.lock().await;
        let now = stamp(&self.file).ok();
        if now != cached.stamp {
            self.renew(&mut cached);
            cached.stamp = now;
        }
        Arc::clone(&cached.value)
    }

    /// The credential, read again in any case, after a service refused it.
    pub(super) async fn again(&self) -> Arc<T> {
        let mut cached = self.cached.lock().await;
        let now = stamp(&self.file).ok();
        self.renew(&mut cached);
        cached.stamp = now;
        Arc::clone(&cached.value)
    }

    fn renew(&self, cached: &mut CachedCredential<T>) {
        let file = self.file.display();
        match bytes(&self.file).and_then(|bytes| (self.parse)(&bytes)) {
            Ok(value) => {
                cached.value = Arc::new(value);
                tracing::info!(%file, "a push credential file was read again");
            }
            Err(why) => {
                tracing::error!(%file, why, "a push credential file cannot be used; the credential read before is kept")
            }
        }
    }
}

fn stamp(file: &Path) -> std::io::Result<FileStamp> {
    let metadata = std::fs::metadata(file)?;
    Ok((metadata.modified().ok(), metadata.len()))
}

fn bytes(file: &Path) -> Result<Vec<u8>, String> {
    let length = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if length > FILE_MAX {
        return Err(format!("has more than {FILE_MAX} bytes"));
    }
    std::fs::read(file).map_err(|error| error.to_string())
}
