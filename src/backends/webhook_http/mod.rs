//! Webhook deliveries over HTTPS, behind [`ports::WebhookSender`](crate::ports::WebhookSender).
//!
//! A client that registers a URL may try to make the relay call its own network (SSRF). So the URL
//! is checked when it is registered and again at every delivery ([`target`]), every address of its
//! host is checked at every connection ([`resolver`], [`address`]), and the connection goes to a
//! checked address. Nothing of an answer is kept but its status and `Retry-After`.
//!
//! It knows nothing of events, signatures or retries.

mod address;
mod resolver;
mod target;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ipnet::IpNet;
use reqwest::{Client, Url};
use tokio::time::{Instant, timeout_at};

use self::resolver::{CheckedResolver, ForbiddenAddress};
use super::outbound;
use crate::ports::{Answered, OutgoingRequest, Registrar, Unsendable, Unsent, WebhookSender};

pub use self::resolver::{Lookup, SystemLookup};

/// Limit of one delivery, from the DNS lookup to the end of the answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Limit of connecting, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read and discarded, so that the connection can be kept.
const ANSWER_MAX: usize = 64 * 1024;
/// Idle connections that are kept per host, and for how long.
const KEEP: usize = 4;
const KEEP_FOR: Duration = Duration::from_secs(30);

/// The URLs and addresses that deliveries may go to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookHttpSettings {
    /// Hosts that initiators may name: a host, or `*.` and a domain.
    pub allowed_hosts: Vec<String>,
    /// Ports other than 443.
    pub allowed_ports: Vec<u16>,
    /// Networks that may be connected to although they are not public.
    pub allowed_networks: Vec<IpNet>,
    /// PEM file of certificates that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether endpoints on this machine are allowed, over http, too.
    pub allow_loopback_http: bool,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WebhookHttpSettingsError {
    /// The file of certificates cannot be read.
    #[error("webhooks.ca_file: {0}")]
    CaFile(String),
    /// No HTTP client could be made; the text says what TLS lacks.
    #[error("no HTTP client for webhooks: {0}")]
    Client(String),
}

/// A [`WebhookSender`] over HTTPS.
#[derive(Debug)]
pub struct WebhookHttp {
    settings: WebhookHttpSettings,
    client: Client,
}

impl WebhookHttp {
    /// A sender with the operating system's resolver.
    ///
    /// # Errors
    /// [`WebhookHttpSettingsError`].
    pub fn new(settings: WebhookHttpSettings) -> Result<Self, WebhookHttpSettingsError> {
        Self::with_lookup(settings, Arc::new(SystemLookup))
    }

    /// A sender with another resolver, for tests.
    ///
    /// # Errors
    /// [`WebhookHttpSettingsError`].
    pub fn with_lookup(
        settings: WebhookHttpSettings,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, WebhookHttpSettingsError> {
        let resolver = CheckedResolver {
            lookup,
            allowed: settings.allowed_networks.clone().into(),
            loopback: settings.allow_loopback_http,
        };
        let mut builder = outbound::client()
            .http1_only()
            .connect_timeout(CONNECT_LIMIT)
            .pool_max_idle_per_host(KEEP)
            .pool_idle_timeout(KEEP_FOR)
            .dns_resolver(resolver);
        if let Some(file) = &settings.ca_file {
            builder =
                outbound::trusting(builder, file).map_err(WebhookHttpSettingsError::CaFile)?;
        }
        let client =
            builder.build().map_err(|error| WebhookHttpSettingsError::Client(error.to_string()))?;
        Ok(Self { settings, client })
    }

    async fn exchange(&self, url: Url, letter: OutgoingRequest) -> Result<Answered, Unsent> {
        let mut request = self.client.post(url).body(letter.body);
        for (name, value) in letter.headers {
            request = request.header(name, value);
        }
        let limit = Instant::now() + LIMIT;
        let response = match timeout_at(limit, request.send()).await {
            Ok(sent) => sent.map_err(|error| unsent(&error))?,
            Err(_) => return Err(Unsent::Timeout),
        };
        let retry_after = outbound::retry_after(response.headers());
        let answered = Answered { status: response.status().as_u16(), retry_after };
        // The body is discarded. A connection whose answer was read to its end is kept.
        drop(timeout_at(limit, outbound::body(response, ANSWER_MAX)).await);
        Ok(answered)
    }
}

impl WebhookSender for WebhookHttp {
    fn permits(&self, url: &str, registrar: Registrar) -> Result<Url, Unsendable> {
        target::permit(&self.settings, url, registrar)
    }

    fn send(&self, letter: OutgoingRequest) -> BoxFuture<'_, Result<Answered, Unsent>> {
        Box::pin(async move {
            // The operator may have shortened the lists since the endpoint was registered.
            let permitted = self.permits(letter.url.as_str(), letter.registrar);
            let url = permitted.map_err(|_| Unsent::Forbidden)?;
            self.exchange(url, letter).await
        })
    }
}

/// Why a request got no answer.
fn unsent(error: &reqwest::Error) -> Unsent {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if inner.is::<ForbiddenAddress>() {
            return Unsent::Forbidden;
        }
        cause = inner.source();
    }
    if error.is_timeout() { Unsent::Timeout } else { Unsent::Unreachable }
}
