//! One bounded call to a service whose address the operator gave. It knows HTTP and its limits, and
//! not what an answer means.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use fido_relay_proto::UnixMillis;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, redirect, retry};
use serde::de::DeserializeOwned;

use super::settings::PushSettingsError;
use crate::trust::TlsFault;

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 16 * 1024;
/// Longest that a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longest that a call may take, that for an access token included.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a connection without a call is kept.
const KEEP_FOR: Duration = Duration::from_secs(300);
/// Between two signs of life that a connection under way is asked for.
const PING: Duration = Duration::from_secs(15);

/// What a service answered, as far as it counts.
#[derive(Debug)]
pub(super) struct HttpReply {
    pub(super) status: u16,
    /// How long it wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl HttpReply {
    /// The body, if it is the JSON of this type.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// There is no answer. The text is for the operator who probes.
#[derive(Clone, Debug)]
pub(super) struct NoReply {
    pub(super) says: String,
}

/// A client of one service: no redirect, no proxy of the environment, nothing repeated by itself.
pub(super) fn client(
    ca_file: Option<&Path>,
    adjust: fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, PushSettingsError> {
    let mut builder = crate::trust::http_client()
        .user_agent(concat!("fido-relay/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
        .timeout(LIMIT)
        .connect_timeout(CONNECT_LIMIT)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(CONNECT_LIMIT)
        .pool_idle_timeout(KEEP_FOR);
    if let Some(file) = ca_file {
        let unreadable = |why| {
            let says = format!("{}: {why}", file.display());
            PushSettingsError::File("push.ca_file", says)
        };
        builder = builder.tls_certs_merge(crate::trust::certificates(file).map_err(unreadable)?);
    }
    adjust(builder).build().map_err(|error| PushSettingsError::Client(error.to_string()))
}

/// Sends a request and reads as much of the answer as is of use.
pub(super) async fn exchange(
    request: RequestBuilder,
    now: UnixMillis,
) -> Result<HttpReply, NoReply> {
    let response = request.send().await.map_err(|error| lost(&error))?;
    let status = response.status().as_u16();
    let retry_after = retry_after(&response, now);
    let body = read(response).await.map_err(|error| lost(&error))?;
    Ok(HttpReply { status, retry_after, body })
}

async fn read(mut response: Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = ANSWER_MAX.saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if room <= chunk.len() {
            break;
        }
    }
    Ok(body)
}

/// Seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(response: &Response, now: UnixMillis) -> Option<Duration> {
    let asked = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(asked).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(Duration::from_millis(now.0)))
}

/// Without the URL, which may name an address.
fn lost(error: &reqwest::Error) -> NoReply {
    let says = match TlsFault::of(error) {
        Some(fault) => fault.to_string(),
        None if error.is_timeout() => "it does not answer in time".to_owned(),
        None if error.is_connect() => "it cannot be reached".to_owned(),
        None => "the connection broke off".to_owned(),
    };
    NoReply { says }
}
