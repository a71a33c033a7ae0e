//! The card's answer as JSON (WebAuthn section 5.1.9 and the vendor's sample), decoded but not
//! verified. Base64 is accepted in either alphabet, padded or not, since card SDKs differ; unknown
//! members are ignored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::failure::VerifyError;

/// An answer: a credential with the response of one ceremony.
#[derive(Debug)]
pub struct Answer {
    /// The credential's id.
    pub id: Vec<u8>,
    /// The client data as they were signed.
    pub(crate) client_data: Vec<u8>,
    /// What the card made.
    pub(crate) response: Response,
}

/// What a card makes, by the members that are there.
#[derive(Debug)]
pub(crate) enum Response {
    /// A registration (section 5.2.1).
    Attestation { object: Vec<u8> },
    /// An authentication (section 5.2.2), or a registration in the form of the vendor's sample.
    Signed {
        authenticator_data: Vec<u8>,
        /// The signature over them and the client data's hash.
        signature: Vec<u8>,
        /// The user handle, if the card gave one.
        user_handle: Option<Vec<u8>>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    id: String,
    raw_id: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    response: JsonResponse,
}

#[derive(Deserialize)]
struct JsonResponse {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    #[serde(rename = "attestationObject")]
    attestation_object: Option<String>,
    #[serde(rename = "authenticatorData")]
    authenticator_data: Option<String>,
    signature: Option<String>,
    #[serde(rename = "userHandle")]
    user_handle: Option<String>,
}

impl Answer {
    /// Reads the JSON text of a credential.
    pub fn parse(text: &[u8]) -> Result<Self, VerifyError> {
        let json: Json = serde_json::from_slice(text).map_err(|_| VerifyError::Response)?;
        if json.kind != "public-key" {
            return Err(VerifyError::Response);
        }
        let decode = |text: &str| bytes(text).ok_or(VerifyError::Response);
        let id = decode(&json.id)?;
        if let Some(raw) = &json.raw_id
            && decode(raw)? != id
        {
            return Err(VerifyError::CredentialId);
        }
        let inner = json.response;
        // Newer clients send authenticator data in addition to the attestation object; the
        // object is what counts.
        let response = match (inner.attestation_object, inner.authenticator_data, inner.signature) {
            (Some(object), _, _) => Response::Attestation { object: decode(&object)? },
            (None, Some(data), Some(signature)) => Response::Signed {
                authenticator_data: decode(&data)?,
                signature: decode(&signature)?,
                user_handle: inner
                    .user_handle
                    .filter(|handle| !handle.is_empty())
                    .map(|handle| decode(&handle))
                    .transpose()?,
            },
            (None, _, _) => return Err(VerifyError::Response),
        };
        Ok(Self { id, client_data: decode(&inner.client_data)?, response })
    }
}

/// The bytes of a base64 text in either alphabet, padded or not.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    let plain = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(plain).ok()
}

/// Bytes that are base64url in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// The base64url text, without padding.
    #[must_use]
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0)
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        bytes.text()
    }
}

impl TryFrom<String> for Bytes {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        bytes(&text).map(Self).ok_or("not base64url")
    }
}
