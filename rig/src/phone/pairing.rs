//! Pairing: a one-time token makes this phone a device of the user. Knows one POST of HTTP; the proof
//! comes from [`DeviceKey`].

use std::fmt;
use std::time::Duration;

use fido_relay_proto::http::{PairDevice, PairedDevice, Platform};
use fido_relay_proto::{DeviceId, PlainText, Problem, TypedCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::key::{DeviceKey, KeyError};
use super::roots::Roots;

/// Limit of a call; the relay holds none of them.
const LIMIT: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// Not a `fido-relay://pair?relay=…&token=…` link, or no http(s) URL in it.
    #[error("not a pairing link: it must read fido-relay://pair?relay=…&token=…")]
    Link,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the relay refused (HTTP {status}): {title}")]
    Refused {
        status: u16,
        /// The problem's title and detail.
        title: String,
        problem: Option<Box<Problem>>,
    },
    /// No connection, or an answer that is not of this protocol.
    #[error("the relay could not be asked")]
    Unreachable(#[source] reqwest::Error),
}

/// The link of a pairing, as a QR code shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingLink {
    pub relay: Url,
    pub token: String,
}

impl fmt::Debug for PairingLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairingLink").field("relay", &self.relay.as_str()).finish_non_exhaustive()
    }
}

impl std::str::FromStr for PairingLink {
    type Err = PairingError;

    fn from_str(text: &str) -> Result<Self, PairingError> {
        let link = Url::parse(text.trim()).map_err(|_| PairingError::Link)?;
        if link.scheme() != "fido-relay" || link.host_str() != Some("pair") {
            return Err(PairingError::Link);
        }
        let value = |name: &str| {
            link.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let relay = value("relay").and_then(|relay| Url::parse(&relay).ok());
        match (relay, value("token")) {
            (Some(relay), Some(token)) if is_http(&relay) && !token.is_empty() => {
                Ok(Self { relay, token })
            }
            _ => Err(PairingError::Link),
        }
    }
}

fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// A paired device, with what it needs to connect.
#[derive(Clone, Debug)]
pub struct Paired {
    pub device_id: DeviceId,
    pub socket_url: String,
    pub key: DeviceKey,
}

impl Paired {
    /// The relay's base URL, without a trailing slash.
    #[must_use]
    pub fn base_url(&self) -> String {
        let url = &self.socket_url;
        url.strip_suffix("/v1/device/socket").unwrap_or(url).replacen("ws", "http", 1)
    }
}

/// Pairs one phone; to pair many, use one [`PairingClient`].
///
/// # Errors
/// As [`PairingClient::pair`].
pub async fn pair(
    relay: &Url,
    token: &str,
    name: Option<PlainText<64>>,
    key: DeviceKey,
) -> Result<Paired, PairingError> {
    PairingClient::new()?.pair(relay, token, name, key).await
}

/// Pairs phones over kept-alive connections: loading the machine's certificates takes longer than
/// pairing.
#[derive(Clone, Debug)]
pub struct PairingClient(reqwest::Client);

impl PairingClient {
    /// A client that trusts the machine's authorities.
    ///
    /// # Errors
    /// [`PairingError::Unreachable`] if TLS cannot be set up.
    pub fn new() -> Result<Self, PairingError> {
        Self::trusting(&Roots::system())
    }

    /// A client that trusts these roots.
    ///
    /// # Errors
    /// As [`PairingClient::new`].
    pub fn trusting(roots: &Roots) -> Result<Self, PairingError> {
        let mut builder = fido_relay_kit::trust::http_client();
        if let Some(named) = roots.named() {
            let named = named.iter().map(|root| reqwest::Certificate::from_der(root));
            let named = named.collect::<Result<Vec<_>, _>>().map_err(unreachable)?;
            builder = builder.tls_certs_only(named);
        }
        let client = builder
            .timeout(LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            // The device socket knows no proxy either: both must reach the same relay.
            .no_proxy()
            .build();
        Ok(Self(client.map_err(unreachable)?))
    }

    /// Pairs `key` by the token of a link. `relay` is the relay's base URL.
    ///
    /// # Errors
    /// [`PairingError`]; after [`PairingError::Unreachable`] the token may be used up.
    pub async fn pair(
        &self,
        relay: &Url,
        token: &str,
        name: Option<PlainText<64>>,
        key: DeviceKey,
    ) -> Result<Paired, PairingError> {
        self.pair_by(relay, (Some(token), None), name, key).await
    }

    /// [`PairingClient::pair`] by the code that the person typed.
    ///
    /// # Errors
    /// As [`PairingClient::pair`].
    pub async fn pair_typed(
        &self,
        relay: &Url,
        code: &TypedCode,
        name: Option<PlainText<64>>,
        key: DeviceKey,
    ) -> Result<Paired, PairingError> {
        self.pair_by(relay, (None, Some(code.as_str())), name, key).await
    }

    async fn pair_by(
        &self,
        relay: &Url,
        (token, code): (Option<&str>, Option<&str>),
        name: Option<PlainText<64>>,
        key: DeviceKey,
    ) -> Result<Paired, PairingError> {
        let url = format!("{}/v1/devices", relay.as_str().trim_end_matches('/'));
        let body = PairDevice {
            pairing_token: token.map(str::to_owned),
            typed_code: code.map(str::to_owned),
            jwk: key.jwk().clone(),
            proof: key.pairing_proof(&url, token.or(code).unwrap_or_default())?,
            name,
            platform: Platform::Other,
            push: None,
        };
        let PairedDevice { device_id, socket_url } = self.post(&url, &body).await?;
        Ok(Paired { device_id, socket_url, key })
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.0
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        url: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, PairingError> {
        let response = self.0.post(url).json(body).send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            let problem = response.json::<Problem>().await.ok().map(Box::new);
            let title = problem.as_ref().map_or("no reason given".to_owned(), |problem| {
                let detail = problem.detail.iter().map(|detail| format!(": {detail}"));
                format!("{}{}", problem.title, detail.collect::<String>())
            });
            return Err(PairingError::Refused { status, title, problem });
        }
        response.json().await.map_err(unreachable)
    }
}

/// Without the URL, which the caller knows.
fn unreachable(error: reqwest::Error) -> PairingError {
    PairingError::Unreachable(error.without_url())
}
