//! What must not lie readable in the store: the FIDO2 server's session cookies and the relay's own
//! keys, under AES-256-GCM. The sealing key lies in a file of its own, so that a copy of the store
//! alone opens nothing.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::random;

const KEY_LEN: usize = 32;

/// Seals and opens. Clones are the same.
#[derive(Clone)]
pub struct Encryptor {
    key: Arc<RandomizedNonceKey>,
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encryptor(hidden)")
    }
}

/// Why there is no sealing key.
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    /// The file at this path cannot be read or made.
    #[error("the sealing key {} cannot be read or made: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// The file at this path holds something else.
    #[error("the sealing key's file must hold 32 bytes in base64url, and {} does not", .0.display())]
    Malformed(PathBuf),
    /// The cryptographic library refused.
    #[error("the sealing key cannot be used")]
    Unusable,
}

/// The ciphertext does not decrypt: it was changed, belongs elsewhere, or was sealed under another
/// key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was sealed does not open")]
pub struct DecryptError;

impl Encryptor {
    /// Seals under this key.
    ///
    /// # Errors
    /// [`EncryptError::Unusable`].
    pub fn new(key: &[u8; KEY_LEN]) -> Result<Self, EncryptError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| EncryptError::Unusable)?;
        Ok(Self { key: Arc::new(key) })
    }

    /// The key in this file.
    ///
    /// # Errors
    /// [`EncryptError`].
    pub fn load(file: &Path) -> Result<Self, EncryptError> {
        let malformed = || EncryptError::Malformed(file.to_owned());
        let failed = |source| EncryptError::File { path: file.to_owned(), source };
        let text = std::fs::read(file).map_err(failed)?;
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_ascii()).map_err(|_| malformed())?;
        Self::new(&bytes.try_into().map_err(|_| malformed())?)
    }

    /// The key in this file, made first if there is none or the file is empty; readable by this
    /// user alone. The caller keeps other processes from making one at the same time.
    ///
    /// # Errors
    /// [`EncryptError`].
    pub fn load_or_make(file: &Path) -> Result<Self, EncryptError> {
        if std::fs::metadata(file).map_or(0, |found| found.len()) == 0 {
            let failed = |source| EncryptError::File { path: file.to_owned(), source };
            make(file).map_err(failed)?;
        }
        Self::load(file)
    }

    /// Seals a text for one place: `place` must be given again to open it.
    ///
    /// # Errors
    /// [`DecryptError`] only if the cryptographic library fails.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<String, DecryptError> {
        let mut bytes = plain.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut bytes)
            .map_err(|_| DecryptError)?;
        let sealed = [nonce.as_ref().as_slice(), &bytes].concat();
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Decrypts a ciphertext that was encrypted for this place.
    ///
    /// # Errors
    /// [`DecryptError`].
    pub fn open(&self, place: &str, sealed: &str) -> Result<Vec<u8>, DecryptError> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| DecryptError)?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN).ok_or(DecryptError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| DecryptError)?;
        let mut rest = rest.to_vec();
        let place = Aad::from(place.as_bytes());
        let plain = self.key.open_in_place(nonce, place, &mut rest).map_err(|_| DecryptError)?;
        Ok(plain.to_vec())
    }
}

fn make(file: &Path) -> std::io::Result<()> {
    // Under its own name once it is whole: a crash leaves no half of a key.
    let new = file.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut made = options.open(&new)?;
    made.write_all(URL_SAFE_NO_PAD.encode(random::bytes::<KEY_LEN>()).as_bytes())?;
    made.sync_all()?;
    std::fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_in_its_place_under_its_key_and_unchanged() {
        let sealer = Encryptor::new(&[1; 32]).unwrap();
        let sealed = sealer.seal("cer_a", b"cookie").unwrap();
        assert!(!sealed.contains("cookie"));
        assert_eq!(sealer.open("cer_a", &sealed), Ok(b"cookie".to_vec()));
        assert_eq!(sealer.open("cer_b", &sealed), Err(DecryptError));
        assert_eq!(Encryptor::new(&[2; 32]).unwrap().open("cer_a", &sealed), Err(DecryptError));
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let changed = URL_SAFE_NO_PAD.encode(&changed);
            assert_eq!(sealer.open("cer_a", &changed), Err(DecryptError), "byte {at}");
        }
        assert_eq!(sealer.open("cer_a", ""), Err(DecryptError));
    }

    #[test]
    fn the_key_in_the_file_stays_the_same_and_is_ones_own() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("seal.key");
        let sealed = Encryptor::load_or_make(&file).unwrap().seal("here", b"text").unwrap();
        assert_eq!(Encryptor::load_or_make(&file).unwrap().open("here", &sealed).unwrap(), b"text");
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(
                &std::fs::metadata(&file).unwrap().permissions(),
            );
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::write(&file, "short").unwrap();
        assert!(matches!(Encryptor::load_or_make(&file), Err(EncryptError::Malformed(_))));
    }
}
