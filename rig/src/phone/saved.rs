//! The state file of a phone: device id, key, and the software card's contents.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fido_relay_proto::DeviceId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::key::{DeviceKey, KeyError};
use super::pairing::Paired;

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("{} cannot be read or written: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} is not the state of a phone", .0.display())]
    Contents(PathBuf),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The state of one installation of the app.
#[derive(Clone, Debug)]
pub struct PhoneState {
    pub paired: Paired,
    /// [`SoftCard::to_json`](crate::softcard::SoftCard::to_json).
    pub card: Option<Box<RawValue>>,
}

#[derive(Serialize, Deserialize)]
struct StateFile {
    device_id: DeviceId,
    socket_url: String,
    /// PKCS#8, DER, base64.
    device_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    card: Option<Box<RawValue>>,
}

impl PhoneState {
    /// Reads the state; `None` if there is no such file.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn load(path: &Path) -> Result<Option<Self>, StateError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::File { path: path.to_owned(), source }),
        };
        let contents = || StateError::Contents(path.to_owned());
        let file: StateFile = serde_json::from_str(&text).map_err(|_| contents())?;
        let pkcs8 = STANDARD.decode(file.device_key).map_err(|_| contents())?;
        let paired = Paired {
            device_id: file.device_id,
            socket_url: file.socket_url,
            key: DeviceKey::from_pkcs8(&pkcs8)?,
        };
        Ok(Some(Self { paired, card: file.card }))
    }

    /// Checks that [`PhoneState::save`] can write there.
    ///
    /// # Errors
    /// [`StateError::File`].
    pub fn writable(path: &Path) -> Result<(), StateError> {
        let beside = path.with_extension("new");
        let tried = private_file(&beside).and_then(|_| fs::remove_file(&beside));
        tried.map_err(|source| StateError::File { path: path.to_owned(), source })
    }

    /// Writes the state atomically, with mode 0600.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn save(&self, path: &Path) -> Result<(), StateError> {
        let failed = |source: io::Error| StateError::File { path: path.to_owned(), source };
        let file = StateFile {
            device_id: self.paired.device_id,
            socket_url: self.paired.socket_url.clone(),
            device_key: STANDARD.encode(self.paired.key.pkcs8()),
            card: self.card.clone(),
        };
        let text = serde_json::to_vec_pretty(&file).map_err(|error| failed(error.into()))?;
        let beside = path.with_extension("new");
        let mut written = private_file(&beside).map_err(failed)?;
        written.write_all(&text).and_then(|()| written.sync_all()).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)
    }
}

fn private_file(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
