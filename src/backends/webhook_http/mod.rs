//! Webhook deliveries over HTTPS, behind [`ports::WebhookSender`](crate::ports::WebhookSender).
//!
//! Whoever may name a URL that a server calls may try to have it call its own network. So the URL
//! is checked when it is registered and again at every delivery ([`target`]), every address that
//! its name has is checked at every connection ([`resolver`], [`address`]), and the connection
//! goes to an address that was checked. No redirect is followed, no proxy is asked, and of an
//! answer nothing is kept but its status.
//!
//! It knows nothing of events, signatures or retries.

mod address;
mod resolver;
mod target;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fido_relay_proto::UnixMillis;
use futures::future::BoxFuture;
use ipnet::IpNet;
use reqwest::header::{DATE, RETRY_AFTER};
use reqwest::{Client, Response, Url, redirect, retry};
use tokio::time::{Instant, timeout_at};

use self::resolver::{CheckedResolver, ForbiddenAddress};
use crate::ports::{
    Answered, OutgoingRequest, Registrar, RetryAfter, Unsendable, Unsent, WebhookSender,
};

pub use self::resolver::{Lookup, SystemLookup};

/// Longest that one delivery may take, from the name's lookup to the end of the answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest that a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read, and thrown away, to keep the connection.
const ANSWER_MAX: usize = 64 * 1024;
/// Connections kept to one host, and for how long.
const KEEP: usize = 4;
const KEEP_FOR: Duration = Duration::from_secs(30);

/// Where deliveries may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookHttpSettings {
    /// Hosts that initiators may name: a host, or `*.` and a domain.
    pub allowed_hosts: Vec<String>,
    /// Ports beside 443.
    pub allowed_ports: Vec<u16>,
    /// Networks that are not public and may be connected to all the same.
    pub allowed_networks: Vec<IpNet>,
    /// PEM file of certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether this machine may be named, by http too.
    pub allow_loopback_http: bool,
}

/// Why there is no sender.
#[derive(Debug, thiserror::Error)]
pub enum WebhookHttpSettingsError {
    /// The file of certificates cannot be read.
    #[error("webhooks.ca_file: {0}")]
    CaFile(String),
    /// No HTTP client could be made; the text says what TLS lacks.
    #[error("no HTTP client for webhooks: {0}")]
    Client(String),
}

/// Sends deliveries.
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

    /// A sender that asks somebody else for addresses.
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
        let mut builder = crate::trust::http_client()
            .user_agent(concat!("fido-relay/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_proxy()
            .http1_only()
            .connect_timeout(CONNECT_LIMIT)
            .pool_max_idle_per_host(KEEP)
            .pool_idle_timeout(KEEP_FOR)
            .dns_resolver(resolver);
        if let Some(file) = &settings.ca_file {
            let roots = crate::trust::certificates(file);
            let unreadable =
                |why| WebhookHttpSettingsError::CaFile(format!("{}: {why}", file.display()));
            builder = builder.tls_certs_merge(roots.map_err(unreadable)?);
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
            Ok(sent) => sent.map_err(|error| lost(&error))?,
            Err(_) => return Err(Unsent::Timeout),
        };
        let answered =
            Answered { status: response.status().as_u16(), retry_after: retry_after(&response) };
        // The status is the answer; what follows it only decides whether the connection is kept.
        drop(timeout_at(limit, drain(response)).await);
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

/// Seconds, or a date in any form of RFC 9110 section 5.6.7. Where the answer has a `Date` too,
/// their difference counts, and the two clocks need not agree.
fn retry_after(response: &Response) -> Option<RetryAfter> {
    let said = |name| response.headers().get(name)?.to_str().ok().map(str::trim);
    let date = |text| httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok();
    let asked = said(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(RetryAfter::Seconds(seconds));
    }
    let at = date(asked)?;
    Some(match said(DATE).and_then(date) {
        Some(now) => RetryAfter::Seconds(at.saturating_sub(now).as_secs()),
        None => RetryAfter::At(UnixMillis(u64::try_from(at.as_millis()).ok()?)),
    })
}

async fn drain(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > ANSWER_MAX {
            return;
        }
    }
}

fn lost(error: &reqwest::Error) -> Unsent {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if inner.is::<ForbiddenAddress>() {
            return Unsent::Forbidden;
        }
        cause = inner.source();
    }
    if error.is_timeout() { Unsent::Timeout } else { Unsent::Unreachable }
}
