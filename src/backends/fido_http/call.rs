//! One bounded HTTP exchange: what was heard, or why nothing was, told apart by whether any byte
//! of the request may have left this machine.
//!
//! Knows HTTP and its limits, not what an answer means.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderValue, SET_COOKIE};
use reqwest::{Client, Response, Url, redirect, retry};
use tokio::time::{Instant, timeout_at};

use super::settings::{Settings, SettingsError};
use crate::trust;

/// Largest answer that is read, in bytes. A begin answer with 64 known credentials has 20 KiB.
pub(super) const ANSWER_MAX: usize = 256 * 1024;

/// An answer that arrived whole.
pub(super) struct Heard {
    /// The HTTP status.
    pub(super) status: u16,
    /// Whether it calls itself JSON.
    pub(super) is_json: bool,
    /// The `Set-Cookie` headers, in order.
    pub(super) set_cookies: Vec<HeaderValue>,
    /// At most [`ANSWER_MAX`] bytes.
    pub(super) body: Vec<u8>,
}

/// Why there is no whole answer. The texts are for the log and hold nothing of either body.
#[derive(Debug)]
pub(super) enum Lost {
    /// No connection came about: not a byte of the request has left.
    Unsent(String),
    /// The request may have arrived.
    Unknown(String),
}

/// Makes the calls. Begin calls share kept connections; a completion call opens its own, because
/// on a kept one the client could not tell a request that the server never saw from one that it
/// did, and would repeat it by itself.
#[derive(Debug)]
pub(super) struct Caller {
    base: String,
    pooled: Client,
    fresh: Client,
}

impl Caller {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        if settings.base_url.scheme() == "https" && trust::system_roots() == 0 {
            return Err(SettingsError::NoRoots);
        }
        let pooled = client(settings.begin_limit, 64)?;
        let fresh = client(settings.complete_limit, 0)?;
        let base = settings.base_url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { base, pooled, fresh })
    }

    /// A call that may be repeated.
    pub(super) async fn begin(
        &self,
        path: &str,
        cookies: Option<HeaderValue>,
        body: String,
        limit: Instant,
    ) -> Result<Heard, Lost> {
        self.post(&self.pooled, path, cookies, body, limit).await
    }

    /// A call that must not be repeated once it may have left.
    pub(super) async fn complete(
        &self,
        path: &str,
        cookies: Option<HeaderValue>,
        body: String,
        limit: Instant,
    ) -> Result<Heard, Lost> {
        self.post(&self.fresh, path, cookies, body, limit).await
    }

    /// Whether anything answers HTTP there, whatever it says.
    pub(super) async fn probe(&self) -> Result<(), String> {
        let url = self.url("/")?;
        self.pooled.get(url).send().await.map(drop).map_err(told)
    }

    async fn post(
        &self,
        client: &Client,
        path: &str,
        cookies: Option<HeaderValue>,
        body: String,
        limit: Instant,
    ) -> Result<Heard, Lost> {
        let url = self.url(path).map_err(Lost::Unsent)?;
        let mut request = client.post(url).header(CONTENT_TYPE, "application/json").body(body);
        if let Some(cookies) = cookies {
            request = request.header(COOKIE, cookies);
        }
        let exchange = async {
            // Connecting covers TCP and TLS; the request is written only after both.
            let response = request.send().await.map_err(|error| match error.is_connect() {
                true => Lost::Unsent(told(error)),
                false => Lost::Unknown(told(error)),
            })?;
            read(response).await
        };
        match timeout_at(limit, exchange).await {
            Ok(heard) => heard,
            Err(_) => Err(Lost::Unknown("no whole answer in time".to_owned())),
        }
    }

    fn url(&self, path: &str) -> Result<Url, String> {
        Url::parse(&format!("{}{path}", self.base)).map_err(|error| error.to_string())
    }
}

/// A client that follows nothing, keeps nothing and repeats nothing. HTTP/1.1 only: one
/// connection carries one request at a time, so that a fault belongs to one ceremony.
///
/// A connection gets half of the call's limit; a stalled one thus always ends as "not
/// connected" and never as a call of unknown fate.
fn client(limit: Duration, keep: usize) -> Result<Client, SettingsError> {
    trust::http_client()
        .user_agent(concat!("fido-relay/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .http1_only()
        .pool_max_idle_per_host(keep)
        .connect_timeout(limit / 2)
        .build()
        .map_err(|error| SettingsError::Client(told(error)))
}

async fn read(mut response: Response) -> Result<Heard, Lost> {
    let too_big = || Lost::Unknown(format!("the answer has more than {ANSWER_MAX} bytes"));
    let status = response.status().as_u16();
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(is_json);
    let set_cookies = response.headers().get_all(SET_COOKIE).iter().cloned().collect();
    if response.content_length().is_some_and(|length| length > ANSWER_MAX as u64) {
        return Err(too_big());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Lost::Unknown(told(error)))? {
        if body.len() + chunk.len() > ANSWER_MAX {
            return Err(too_big());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Heard { status, is_json, set_cookies, body })
}

/// `application/json`, or a type with the structured syntax suffix `+json` (RFC 6839).
fn is_json(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else { return false };
    let media_type = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// An error with its causes, on one line, without the URL.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
