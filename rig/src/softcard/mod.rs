//! A FIDO2 card in software: what the card SDK's `registerCardOnly` and `authenticateCardOnly` do, with
//! keys in memory and without a PIN.
//!
//! It is the card *and* the client half of WebAuthn that the SDK plays (it writes `clientDataJSON`).
//! It must know neither relay nor sockets: a prompt goes in, the credential's JSON comes out.

mod attestation;
mod options;
mod saved;
#[cfg(test)]
mod tests;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::device::CardErrorCode;
use fido_relay_webauthn::KeyPair;
use serde_json::json;
use serde_json::value::RawValue;

pub use attestation::{AttestationKey, AttestationStyle};
pub use saved::InvalidCard;

use fido_relay_kit::random;
use options::CardOptions;

/// Credentials that fit on the card: a real one's few dozen, and enough for long tests.
const CAPACITY: usize = 128;

/// Flag bits of authenticator data (WebAuthn section 6.1).
const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const ATTESTED_CREDENTIAL: u8 = 0x40;

/// The model's name in attested credential data; all zero would mean "does not say".
const AAGUID: [u8; 16] = *b"fido-relay card\0";

/// The request of a phone to its card.
#[derive(Clone, Copy)]
pub struct Prompt<'a> {
    /// The relying party id that the card signs for.
    pub rp_id: &'a str,
    /// For `clientDataJSON`.
    pub origin: &'a str,
    /// The challenge (base64url).
    pub challenge: &'a str,
    pub username: &'a str,
    pub display_name: &'a str,
    /// The FIDO2 server's options object.
    pub public_key: &'a RawValue,
}

impl std::fmt::Debug for Prompt<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompt")
            .field("rp_id", &self.rp_id)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Credential {
    id: [u8; 32],
    rp_id: String,
    username: String,
    user_handle: Vec<u8>,
    key: KeyPair,
    sign_count: u32,
}

/// A card: its credentials and its behaviour.
#[derive(Debug)]
pub struct SoftCard {
    credentials: Vec<Credential>,
    style: AttestationStyle,
    verifies_user: bool,
    username_as_handle: bool,
    counts: bool,
}

impl Default for SoftCard {
    fn default() -> Self {
        Self::new()
    }
}

impl SoftCard {
    /// An empty card that verifies its user and does not attest. Of the algorithms that it knows it
    /// takes the first that the server lists.
    #[must_use]
    pub fn new() -> Self {
        Self {
            credentials: Vec::new(),
            style: AttestationStyle::None,
            verifies_user: true,
            username_as_handle: false,
            counts: true,
        }
    }

    /// Sets the form of attestation.
    #[must_use]
    pub fn with_attestation(mut self, style: AttestationStyle) -> Self {
        self.style = style;
        self
    }

    /// Sets whether the card can verify its user (flag UV).
    #[must_use]
    pub fn with_user_verification(mut self, verified: bool) -> Self {
        self.verifies_user = verified;
        self
    }

    /// Plays an SDK that ignores the server's user handle and uses the username's bytes.
    #[must_use]
    pub fn with_username_as_user_handle(mut self) -> Self {
        self.username_as_handle = true;
        self
    }

    /// Sets whether the sign counter grows; otherwise it stays 0.
    #[must_use]
    pub fn with_sign_count(mut self, counts: bool) -> Self {
        self.counts = counts;
        self
    }

    #[must_use]
    pub fn credential_count(&self) -> usize {
        self.credentials.len()
    }

    /// Makes a credential and returns its JSON. One of the same relying party and user handle is
    /// replaced (CTAP2 section 6.1.2).
    ///
    /// # Errors
    /// [`CardErrorCode`]: 606 full, `already_registered`, `pin_not_set`, 609 no common algorithm, 601
    /// an unreadable prompt.
    pub fn register(&mut self, prompt: &Prompt<'_>) -> Result<String, CardErrorCode> {
        let options = CardOptions::read(prompt.public_key.get()).ok_or(CardErrorCode::UNKNOWN)?;
        self.check_verification(&options)?;
        let here = |id: &Vec<u8>| {
            self.credentials.iter().any(|one| one.id == id[..] && one.rp_id == prompt.rp_id)
        };
        if options.excluded().iter().any(here) {
            return Err(CardErrorCode::ALREADY_REGISTERED);
        }
        if self.credentials.len() >= CAPACITY {
            return Err(CardErrorCode::KEY_STORE_FULL);
        }
        let key = options.algorithms().into_iter().find_map(KeyPair::generate);
        let credential = Credential {
            id: random::bytes(),
            rp_id: prompt.rp_id.to_owned(),
            username: prompt.username.to_owned(),
            user_handle: options
                .user_handle()
                .filter(|_| !self.username_as_handle)
                .unwrap_or_else(|| prompt.username.into()),
            key: key.ok_or(CardErrorCode::NO_PUBLIC_KEY)?,
            sign_count: 0,
        };

        let mut auth_data = self.authenticator_data(&credential, ATTESTED_CREDENTIAL);
        auth_data.extend(AAGUID);
        auth_data.extend((credential.id.len() as u16).to_be_bytes());
        auth_data.extend(credential.id);
        auth_data.extend(attestation::encode(&credential.key.cose())?);

        let client_data = client_data("webauthn.create", prompt)?;
        let hash = digest(&SHA256, client_data.as_bytes());
        let response = match self.style.object(&credential.key, &auth_data, hash.as_ref())? {
            Some(object) => json!({
                "clientDataJSON": URL_SAFE_NO_PAD.encode(&client_data),
                "attestationObject": URL_SAFE_NO_PAD.encode(object),
                "transports": ["nfc"],
            }),
            None => json!({
                "clientDataJSON": URL_SAFE_NO_PAD.encode(&client_data),
                "authenticatorData": URL_SAFE_NO_PAD.encode(&auth_data),
                "signature": signature(&credential, &auth_data, hash.as_ref())?,
            }),
        };
        let answer = answer(&credential, response);
        self.credentials.retain(|one| {
            one.rp_id != credential.rp_id || one.user_handle != credential.user_handle
        });
        self.credentials.push(credential);
        Ok(answer)
    }

    /// Signs with a credential of the relying party: one of `allowCredentials`, or, if that list
    /// is empty, the user's newest. The sign counter grows by one. Returns the credential's JSON.
    ///
    /// # Errors
    /// [`CardErrorCode`]: 602 no such credential, 603 only other users' credentials, 604 the key
    /// failed, `pin_not_set`, 601 an unreadable prompt.
    pub fn authenticate(&mut self, prompt: &Prompt<'_>) -> Result<String, CardErrorCode> {
        let options = CardOptions::read(prompt.public_key.get()).ok_or(CardErrorCode::UNKNOWN)?;
        self.check_verification(&options)?;
        let client_data = client_data("webauthn.get", prompt)?;
        let allowed = options.allowed();
        let of_rp = |one: &Credential| one.rp_id == prompt.rp_id;
        let wanted = |one: &Credential| {
            let listed = allowed.iter().any(|id| one.id == id[..]);
            of_rp(one) && if allowed.is_empty() { one.username == prompt.username } else { listed }
        };
        let Some(index) = self.credentials.iter().rposition(wanted) else {
            let others = allowed.is_empty() && self.credentials.iter().any(of_rp);
            return Err(if others {
                CardErrorCode::USER_NOT_ON_CARD
            } else {
                CardErrorCode::NO_CREDENTIALS
            });
        };
        self.credentials[index].sign_count += u32::from(self.counts);
        let credential = &self.credentials[index];
        let auth_data = self.authenticator_data(credential, 0);
        let hash = digest(&SHA256, client_data.as_bytes());
        let response = json!({
            "clientDataJSON": URL_SAFE_NO_PAD.encode(&client_data),
            "authenticatorData": URL_SAFE_NO_PAD.encode(&auth_data),
            "signature": signature(credential, &auth_data, hash.as_ref())?,
            "userHandle": URL_SAFE_NO_PAD.encode(&credential.user_handle),
        });
        Ok(answer(credential, response))
    }

    fn check_verification(&self, options: &CardOptions) -> Result<(), CardErrorCode> {
        if options.requires_verification() && !self.verifies_user {
            Err(CardErrorCode::PIN_NOT_SET)
        } else {
            Ok(())
        }
    }

    /// The part of authenticator data that every ceremony has (WebAuthn section 6.1): hash of the
    /// relying party id, flags, sign counter.
    fn authenticator_data(&self, credential: &Credential, more_flags: u8) -> Vec<u8> {
        let verified = if self.verifies_user { USER_VERIFIED } else { 0 };
        let mut data = digest(&SHA256, credential.rp_id.as_bytes()).as_ref().to_vec();
        data.push(USER_PRESENT | verified | more_flags);
        data.extend(credential.sign_count.to_be_bytes());
        data
    }
}

fn client_data(kind: &str, prompt: &Prompt<'_>) -> Result<String, CardErrorCode> {
    let challenge = options::bytes(prompt.challenge).ok_or(CardErrorCode::UNKNOWN)?;
    let client_data = json!({
        "type": kind,
        "challenge": URL_SAFE_NO_PAD.encode(challenge),
        "origin": prompt.origin,
        "crossOrigin": false,
    });
    Ok(client_data.to_string())
}

fn signature(
    credential: &Credential,
    auth_data: &[u8],
    client_data_hash: &[u8],
) -> Result<String, CardErrorCode> {
    let signed = credential.key.sign(&[auth_data, client_data_hash].concat());
    signed.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).ok_or(CardErrorCode::SIGNATURE_FAILED)
}

fn answer(credential: &Credential, response: serde_json::Value) -> String {
    let id = URL_SAFE_NO_PAD.encode(credential.id);
    json!({
        "id": id,
        "rawId": id,
        "type": "public-key",
        "response": response,
        "clientExtensionResults": {},
    })
    .to_string()
}
