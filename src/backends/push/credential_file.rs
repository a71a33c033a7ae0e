//! A credential in a file, read anew when the file has changed. A file that cannot be used leaves the
//! credential before it in place, and the log says so once.
//!
//! It knows no credential's form: that is its reader's.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Mutex;

/// Bytes of a file that are read; a service account has 2.4 KiB.
const FILE_MAX: u64 = 64 * 1024;

/// Reads a credential out of a file's bytes; an error repeats nothing of them.
pub(super) type ParseCredential<T> = Box<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

/// By what a change of a file shows.
type FileStamp = (Option<SystemTime>, u64);

/// The credential of one file.
pub(super) struct CredentialFile<T> {
    file: PathBuf,
    read: ParseCredential<T>,
    held: Mutex<CachedCredential<T>>,
}

struct CachedCredential<T> {
    value: Arc<T>,
    /// Of the file that was read last, whether it could be used or not.
    stamp: Option<FileStamp>,
}

impl<T> std::fmt::Debug for CredentialFile<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialFile").field("file", &self.file).finish_non_exhaustive()
    }
}

impl<T> CredentialFile<T> {
    /// The credential of this file.
    ///
    /// # Errors
    /// Why the file cannot be used, with its name.
    pub(super) fn open(file: &Path, read: ParseCredential<T>) -> Result<Self, String> {
        let named = |why: String| format!("{}: {why}", file.display());
        let stamp = stamp(file).map_err(|error| named(error.to_string()))?;
        let value = Arc::new(bytes(file).and_then(|bytes| read(&bytes)).map_err(named)?);
        let held = Mutex::new(CachedCredential { value, stamp: Some(stamp) });
        Ok(Self { file: file.to_owned(), read, held })
    }

    /// The credential as the file has it now.
    pub(super) async fn get(&self) -> Arc<T> {
        let mut held = self.held.lock().await;
        let now = stamp(&self.file).ok();
        if now != held.stamp {
            self.renew(&mut held);
            held.stamp = now;
        }
        Arc::clone(&held.value)
    }

    /// The credential after another look at the file, for a service that refused the one before.
    pub(super) async fn again(&self) -> Arc<T> {
        let mut held = self.held.lock().await;
        let now = stamp(&self.file).ok();
        self.renew(&mut held);
        held.stamp = now;
        Arc::clone(&held.value)
    }

    fn renew(&self, held: &mut CachedCredential<T>) {
        let file = self.file.display();
        match bytes(&self.file).and_then(|bytes| (self.read)(&bytes)) {
            Ok(value) => {
                held.value = Arc::new(value);
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
