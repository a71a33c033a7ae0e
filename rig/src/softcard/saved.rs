//! The card's contents as JSON, so that a simulated phone can restart with the same card. The card's
//! behaviour is not part of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_webauthn::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Credential, SoftCard};

/// The contents cannot be read or written. Without the text, which holds private keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the contents of a software card")]
pub struct InvalidCard;

#[derive(Serialize, Deserialize)]
struct SavedCard {
    credentials: Vec<SavedCredential>,
}

/// Bytes are base64url; the key is a PKCS#8 document (RFC 5208).
#[derive(Serialize, Deserialize)]
struct SavedCredential {
    id: String,
    rp_id: String,
    username: String,
    user_handle: String,
    algorithm: i64,
    key: String,
    sign_count: u32,
}

impl SoftCard {
    /// The card's contents, private keys included.
    ///
    /// # Errors
    /// [`InvalidCard`] if the library cannot export a key.
    pub fn to_json(&self) -> Result<Box<RawValue>, InvalidCard> {
        let credentials = self.credentials.iter().map(save).collect::<Option<_>>();
        let card = SavedCard { credentials: credentials.ok_or(InvalidCard)? };
        serde_json::value::to_raw_value(&card).map_err(|_| InvalidCard)
    }

    /// A card with these contents and the behaviour of [`SoftCard::new`].
    ///
    /// # Errors
    /// [`InvalidCard`].
    pub fn from_json(text: &str) -> Result<Self, InvalidCard> {
        let card: SavedCard = serde_json::from_str(text).map_err(|_| InvalidCard)?;
        let credentials = card.credentials.into_iter().map(restore).collect::<Option<_>>();
        Ok(Self { credentials: credentials.ok_or(InvalidCard)?, ..Self::new() })
    }
}

fn save(credential: &Credential) -> Option<SavedCredential> {
    let document = credential.key.pkcs8()?;
    Some(SavedCredential {
        id: URL_SAFE_NO_PAD.encode(credential.id),
        rp_id: credential.rp_id.clone(),
        username: credential.username.clone(),
        user_handle: URL_SAFE_NO_PAD.encode(&credential.user_handle),
        algorithm: credential.key.algorithm(),
        key: URL_SAFE_NO_PAD.encode(document),
        sign_count: credential.sign_count,
    })
}

fn restore(saved: SavedCredential) -> Option<Credential> {
    let document = URL_SAFE_NO_PAD.decode(saved.key).ok()?;
    let key = KeyPair::from_pkcs8(saved.algorithm, &document)?;
    Some(Credential {
        id: URL_SAFE_NO_PAD.decode(saved.id).ok()?.try_into().ok()?,
        rp_id: saved.rp_id,
        username: saved.username,
        user_handle: URL_SAFE_NO_PAD.decode(saved.user_handle).ok()?,
        key,
        sign_count: saved.sign_count,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::super::{Prompt, SoftCard};
    use super::InvalidCard;

    fn options(text: String) -> Box<RawValue> {
        RawValue::from_string(text).unwrap()
    }

    fn prompt<'a>(public_key: &'a RawValue) -> Prompt<'a> {
        Prompt {
            rp_id: "example.com",
            origin: "https://example.com",
            challenge: "Y2hhbGxlbmdl",
            username: "ada",
            display_name: "Ada",
            public_key,
        }
    }

    #[test]
    fn a_restored_card_signs_with_the_same_credential_of_every_algorithm() {
        for algorithm in [-7, -8, -35, -37, -48, -49, -257] {
            let mut card = SoftCard::new();
            let create = options(format!(
                r#"{{"rp":{{"id":"example.com","name":"x"}},
                    "user":{{"id":"YWRh","name":"ada","displayName":"Ada"}},
                    "challenge":"Y2hhbGxlbmdl",
                    "pubKeyCredParams":[{{"type":"public-key","alg":{algorithm}}}]}}"#
            ));
            let made = card.register(&prompt(&create)).unwrap();
            let get = options(r#"{"challenge":"Y2hhbGxlbmdl","rpId":"example.com"}"#.to_owned());
            card.authenticate(&prompt(&get)).unwrap();
            let saved = card.to_json().unwrap();

            let mut again = SoftCard::from_json(saved.get()).unwrap();
            assert_eq!(again.to_json().unwrap().get(), saved.get());
            let id = |text: &str| {
                let value: serde_json::Value = serde_json::from_str(text).unwrap();
                value["id"].as_str().unwrap().to_owned()
            };
            let signed = again.authenticate(&prompt(&get)).unwrap();
            assert_eq!(id(&signed), id(&made));
            // The counter went on: a server takes one that goes back for a cloned card.
            assert!(again.to_json().unwrap().get().contains(r#""sign_count":2"#));
        }
    }

    #[test]
    fn anything_else_is_no_card() {
        for text in ["", "{}", r#"{"credentials":[{}]}"#] {
            assert_eq!(SoftCard::from_json(text).unwrap_err(), InvalidCard);
        }
    }
}
