//! One bounded call to a push service, at a URL that the operator configured. It knows HTTP and its
//! limits, and not what an answer means.

use std::path::Path;
use std::time::Duration;

use fido_relay_proto::UnixMillis;
use reqwest::{Client, ClientBuilder, RequestBuilder};
use serde::de::DeserializeOwned;

use super::super::outbound;
use super::settings::PushSettingsError;
use crate::trust::TlsFault;

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 16 * 1024;
/// Limit of connecting, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Limit of one call.
const LIMIT: Duration = Duration::from_secs(10);
/// How long an idle connection is kept.
const KEEP_FOR: Duration = Duration::from_secs(300);
/// Interval of HTTP/2 pings during a call.
const PING: Duration = Duration::from_secs(15);

/// An answer of a service.
#[derive(Debug)]
pub(super) struct HttpReply {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl HttpReply {
    /// The body, if it is the JSON of this type.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// There was no answer. The text is for the operator who runs `doctor`.
#[derive(Clone, Debug)]
pub(super) struct NoReply {
    pub(super) says: String,
}

/// The client of one service.
pub(super) fn client(
    ca_file: Option<&Path>,
    adjust: fn(ClientBuilder) -> ClientBuilder,
) -> Result<Client, PushSettingsError> {
    let mut builder = outbound::client()
        .timeout(LIMIT)
        .connect_timeout(CONNECT_LIMIT)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(CONNECT_LIMIT)
        .pool_idle_timeout(KEEP_FOR);
    if let Some(file) = ca_file {
        let unreadable = |why| PushSettingsError::File("push.ca_file", why);
        builder = outbound::trusting(builder, file).map_err(unreadable)?;
    }
    adjust(builder).build().map_err(|error| PushSettingsError::Client(error.to_string()))
}

/// Sends a request and reads the beginning of its answer.
pub(super) async fn exchange(
    request: RequestBuilder,
    now: UnixMillis,
) -> Result<HttpReply, NoReply> {
    let response = request.send().await.map_err(|error| no_reply(&error))?;
    let status = response.status().as_u16();
    let retry_after = outbound::retry_after(response.headers());
    let retry_after = retry_after.map(|asked| Duration::from_secs(asked.seconds(now)));
    let (body, _) = outbound::body(response, ANSWER_MAX).await.map_err(|error| no_reply(&error))?;
    Ok(HttpReply { status, retry_after, body })
}

/// Leaves out the URL, which may hold a device's address.
fn no_reply(error: &reqwest::Error) -> NoReply {
    let says = match TlsFault::of(error) {
        Some(fault) => fault.to_string(),
        None if error.is_timeout() => "it does not answer in time".to_owned(),
        None if error.is_connect() => "it cannot be reached".to_owned(),
        None => "the connection broke off".to_owned(),
    };
    NoReply { says }
}
