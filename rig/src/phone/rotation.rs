//! Rotation of the device key. The relay's answer may be lost, so the phone keeps both keys until the
//! relay has welcomed one of them.

use fido_relay_proto::http::{RotateDeviceKey, RotatedDeviceKey};

use super::event::PhoneEvent;
use super::key::DeviceKey;
use super::pairing::{Paired, PairingClient, PairingError};
use super::roots::Roots;

/// The URL for a key rotation, derived from the socket's.
#[must_use]
pub fn key_url(socket_url: &str) -> String {
    let base = socket_url.strip_suffix("/v1/device/socket").unwrap_or(socket_url);
    format!("{}/v1/device/key", base.replacen("ws", "http", 1))
}

/// Rotates one phone's key; for many, use one [`PairingClient`].
///
/// # Errors
/// As [`PairingClient::rotate_key`].
pub async fn rotate_key(paired: &Paired, next: &DeviceKey) -> Result<Paired, PairingError> {
    PairingClient::new()?.rotate_key(paired, next).await
}

impl PairingClient {
    /// Asks the relay to replace the device's key by `next`. Idempotent.
    ///
    /// # Errors
    /// [`PairingError`]; after [`PairingError::Unreachable`] the new key may be in effect.
    pub async fn rotate_key(
        &self,
        paired: &Paired,
        next: &DeviceKey,
    ) -> Result<Paired, PairingError> {
        let url = key_url(&paired.socket_url);
        let (old_proof, new_proof) = paired.key.rotation_proofs(next, &url, paired.device_id)?;
        let body = RotateDeviceKey { new_jwk: next.jwk().clone(), old_proof, new_proof };
        let RotatedDeviceKey { device_id, .. } = self.post(&url, &body).await?;
        Ok(Paired { device_id, socket_url: paired.socket_url.clone(), key: next.clone() })
    }
}

/// The other key while a rotation is unsettled.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    unsettled: Option<DeviceKey>,
}

impl Rotation {
    /// Rotates to a new key, or to the key of an unfinished rotation.
    pub(super) async fn begin(&mut self, paired: &mut Paired, roots: &Roots) -> PhoneEvent {
        let next = match self.unsettled.take().map_or_else(DeviceKey::generate, Ok) {
            Ok(next) => next,
            Err(error) => return PhoneEvent::KeyKept { why: error.to_string() },
        };
        let rotated = match PairingClient::trusting(roots) {
            Ok(client) => client.rotate_key(paired, &next).await,
            Err(error) => Err(error),
        };
        let why = match rotated {
            Ok(rotated) => {
                *paired = rotated;
                return PhoneEvent::KeyRotated;
            }
            // 429 is left out: it says nothing about the key.
            Err(error @ PairingError::Refused { status: 400..=428 | 430..=499, .. }) => {
                error.to_string()
            }
            Err(error) => {
                self.unsettled = Some(next);
                error.to_string()
            }
        };
        PhoneEvent::KeyKept { why }
    }

    /// Changes to the other key after a refused proof.
    pub(super) fn refused(&mut self, paired: &mut Paired) {
        if let Some(other) = &mut self.unsettled {
            std::mem::swap(&mut paired.key, other);
        }
    }

    /// Forgets the other key, as the relay has welcomed this one.
    pub(super) fn welcomed(&mut self) {
        self.unsettled = None;
    }
}

#[cfg(test)]
mod tests {
    use fido_relay_proto::DeviceId;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn paired(key: &DeviceKey) -> Paired {
        Paired {
            device_id: DeviceId::from_bytes([1; 16]),
            // A port without a listener.
            socket_url: "ws://127.0.0.1:1/v1/device/socket".to_owned(),
            key: key.clone(),
        }
    }

    #[tokio::test]
    async fn without_an_answer_both_keys_are_kept_and_tried_until_one_is_welcome() {
        let old = DeviceKey::generate().unwrap();
        let mut phone = paired(&old);
        let mut rotation = Rotation::default();
        let event = rotation.begin(&mut phone, &Roots::system()).await;
        assert!(matches!(event, PhoneEvent::KeyKept { .. }), "{event:?}");
        assert_eq!(phone.key.jwk(), old.jwk());
        // Asked for again, it is the same new key.
        let new = rotation.unsettled.clone().unwrap();
        rotation.begin(&mut phone, &Roots::system()).await;
        assert_eq!(rotation.unsettled.as_ref().unwrap().jwk(), new.jwk());
        for expected in [&new, &old, &new] {
            rotation.refused(&mut phone);
            assert_eq!(phone.key.jwk(), expected.jwk());
        }
        rotation.welcomed();
        rotation.refused(&mut phone);
        assert_eq!(phone.key.jwk(), new.jwk(), "the other one is nothing any more");
    }

    #[tokio::test]
    async fn a_relay_that_is_asked_too_often_settles_nothing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut phone = paired(&DeviceKey::generate().unwrap());
        phone.socket_url = format!("ws://{address}/v1/device/socket");
        let mut rotation = Rotation::default();
        let refuses = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while request.last() != Some(&b'}') {
                stream.read_buf(&mut request).await.unwrap();
            }
            let answer = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream
        };
        let roots = Roots::system();
        let (event, _stream) = futures::join!(rotation.begin(&mut phone, &roots), refuses);
        assert!(matches!(event, PhoneEvent::KeyKept { .. }), "{event:?}");
        assert!(rotation.unsettled.is_some(), "an earlier request may have come further");
    }

    #[test]
    fn a_key_is_exchanged_where_the_socket_is() {
        for (socket, key) in [
            ("wss://relay.example/v1/device/socket", "https://relay.example/v1/device/key"),
            ("ws://127.0.0.1:8080/v1/device/socket", "http://127.0.0.1:8080/v1/device/key"),
            (
                "wss://bank.example/relay/v1/device/socket",
                "https://bank.example/relay/v1/device/key",
            ),
        ] {
            assert_eq!(key_url(socket), key);
        }
    }
}
