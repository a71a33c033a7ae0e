//! One bounded HTTP exchange: its answer, or why there is none, with whether any byte of the request
//! may have left this machine.
//!
//! Knows HTTP and its limits, and not what an answer means.

use std::time::Duration;

use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap,
    HeaderValue, SET_COOKIE, TRANSFER_ENCODING,
};
use reqwest::{Certificate, Client, Identity, Response, Url};
use tokio::time::{Instant, timeout_at};

use super::super::outbound;
use super::gateway_headers;
use super::settings::{ClientCert, FidoHttpSettings, FidoHttpSettingsError};
use crate::trust::{self, TlsFault};

/// Largest answer that is read, in bytes. A begin answer with 64 known credentials has 20 KiB.
pub(super) const ANSWER_MAX: usize = 256 * 1024;
/// U+FEFF in UTF-8, which a reader of JSON may ignore (RFC 8259 section 8.1).
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

pub(super) struct HttpAnswer {
    pub(super) status: u16,
    /// Whether its `Content-Type` is JSON.
    pub(super) is_json: bool,
    /// The `Set-Cookie` headers, in order.
    pub(super) set_cookies: Vec<HeaderValue>,
    /// The `Content-Encoding` of `body`, although `identity` was asked for.
    pub(super) encoding: Option<HeaderValue>,
    /// At most [`ANSWER_MAX`] bytes, without a byte order mark.
    pub(super) body: Vec<u8>,
}

impl HttpAnswer {
    /// The answer, if its body is not compressed.
    ///
    /// # Errors
    /// [`NoAnswer::Unknown`], if its body is compressed.
    pub(super) fn plain(self) -> Result<Self, NoAnswer> {
        match self.encoding {
            None => Ok(self),
            Some(_) => {
                let why = "the answer has a Content-Encoding, although identity was asked for";
                Err(NoAnswer::Unknown(why.to_owned()))
            }
        }
    }
}

/// Why there is no complete answer. The texts are for the log and hold nothing of either body.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// No connection was made: no byte of the request has left this machine.
    Unsent(String),
    /// The request may have arrived.
    Unknown(String),
}

/// Makes the calls. Begin calls use pooled connections; a completion call opens its own, because on
/// a pooled one the client could not tell a request that the server never saw from one that it did,
/// and would repeat it by itself.
#[derive(Debug)]
pub(super) struct UpstreamClient {
    base: String,
    pooled: Client,
    fresh: Client,
}

impl UpstreamClient {
    pub(super) fn new(settings: &FidoHttpSettings) -> Result<Self, FidoHttpSettingsError> {
        settings.check()?;
        let https = settings.base_url.scheme() == "https";
        if https && settings.ca_file.is_none() && trust::system_roots() == 0 {
            return Err(FidoHttpSettingsError::NoRoots);
        }
        let files = Files::read(settings)?;
        let pooled = client(&files, settings.begin_limit, 64)?;
        let fresh = client(&files, settings.complete_limit, 0)?;
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
    ) -> Result<HttpAnswer, NoAnswer> {
        self.post(&self.pooled, path, cookies, body, limit).await
    }

    /// A call that must not be repeated once it may have left.
    pub(super) async fn complete(
        &self,
        path: &str,
        cookies: Option<HeaderValue>,
        body: String,
        limit: Instant,
    ) -> Result<HttpAnswer, NoAnswer> {
        self.post(&self.fresh, path, cookies, body, limit).await
    }

    /// The HTTP status of `GET /`.
    pub(super) async fn probe(&self) -> Result<u16, UpstreamUnreachable> {
        let url = self.url("/").map_err(|says| UpstreamUnreachable { says, tls: None })?;
        let sent = self.pooled.get(url).send().await;
        let answered = sent.map(|response| response.status().as_u16());
        answered.map_err(|error| UpstreamUnreachable {
            tls: TlsFault::of(&error),
            says: describe(error),
        })
    }

    async fn post(
        &self,
        client: &Client,
        path: &str,
        cookies: Option<HeaderValue>,
        body: String,
        limit: Instant,
    ) -> Result<HttpAnswer, NoAnswer> {
        let url = self.url(path).map_err(NoAnswer::Unsent)?;
        let mut request = client.post(url).header(CONTENT_TYPE, "application/json").body(body);
        if let Some(cookies) = cookies {
            request = request.header(COOKIE, cookies);
        }
        let exchange = async {
            // Connecting covers TCP and TLS; the request is written only after both.
            let response = request.send().await.map_err(|error| match error.is_connect() {
                true => NoAnswer::Unsent(describe(error)),
                false => NoAnswer::Unknown(describe(error)),
            })?;
            read(response).await
        };
        match timeout_at(limit, exchange).await {
            Ok(response) => response,
            Err(_) => Err(NoAnswer::Unknown("no whole answer in time".to_owned())),
        }
    }

    fn url(&self, path: &str) -> Result<Url, String> {
        Url::parse(&format!("{}{path}", self.base)).map_err(|error| error.to_string())
    }
}

/// Why a server cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUnreachable {
    /// A sentence for the operator, without secrets.
    pub says: String,
    /// Set if TLS failed in a way that has a remedy.
    pub tls: Option<TlsFault>,
}

/// The content of the settings' files.
struct Files {
    roots: Vec<Certificate>,
    identity: Option<Identity>,
    headers: HeaderMap,
}

impl Files {
    fn read(settings: &FidoHttpSettings) -> Result<Self, FidoHttpSettingsError> {
        let roots = settings.ca_file.as_ref().map(|file| {
            trust::certificates(file)
                .map_err(|why| FidoHttpSettingsError::file("ca_file", file, why))
        });
        let headers = settings.headers_file.as_ref().map(|file| {
            let headers = gateway_headers::read(file);
            headers.map_err(|why| FidoHttpSettingsError::file("headers_file", file, why))
        });
        let mut headers = headers.transpose()?.unwrap_or_default();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(Self {
            roots: roots.transpose()?.unwrap_or_default(),
            identity: settings.client_cert.as_ref().map(identity).transpose()?,
            headers,
        })
    }
}

/// The client certificate and its key, in the one PEM text that the HTTP library takes. Errors
/// repeat nothing of them.
fn identity(files: &ClientCert) -> Result<Identity, FidoHttpSettingsError> {
    let read = |key, file| {
        std::fs::read(file)
            .map_err(|error| FidoHttpSettingsError::file(key, file, error.to_string()))
    };
    let mut pem = read("client_cert_file", &files.cert_file)?;
    pem.push(b'\n');
    pem.extend(read("client_key_file", &files.key_file)?);
    Identity::from_pem(&pem).map_err(|error| {
        FidoHttpSettingsError::file("client_cert_file", &files.cert_file, describe(error))
    })
}

/// A client with `keep` idle connections. HTTP/1.1 only: one connection carries one request at a
/// time, so that a fault belongs to one ceremony.
///
/// Connecting gets half of the call's limit, so that a stalled connection ends as "not connected"
/// and never as a call of unknown fate.
fn client(files: &Files, limit: Duration, keep: usize) -> Result<Client, FidoHttpSettingsError> {
    let mut builder = outbound::client();
    if let Some(identity) = &files.identity {
        builder = builder.identity(identity.clone());
    }
    builder
        .tls_certs_merge(files.roots.iter().cloned())
        .default_headers(files.headers.clone())
        .http1_only()
        .pool_max_idle_per_host(keep)
        .connect_timeout(limit / 2)
        .build()
        .map_err(|error| FidoHttpSettingsError::Client(describe(error)))
}

async fn read(response: Response) -> Result<HttpAnswer, NoAnswer> {
    let too_big = || NoAnswer::Unknown(format!("the answer has more than {ANSWER_MAX} bytes"));
    let status = response.status().as_u16();
    let headers = response.headers();
    // RFC 9112 section 6.3: a sign of request smuggling or response splitting.
    if headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING) {
        let text = "the answer has both Content-Length and Transfer-Encoding";
        return Err(NoAnswer::Unknown(text.to_owned()));
    }
    let is_json = headers.get(CONTENT_TYPE).is_some_and(is_json);
    let set_cookies = headers.get_all(SET_COOKIE).iter().cloned().collect();
    let encoding = headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity");
    let encoding = encoding.cloned();
    if response.content_length().is_some_and(|length| length > ANSWER_MAX as u64) {
        return Err(too_big());
    }
    let body = outbound::body(response, ANSWER_MAX).await;
    let (mut body, is_whole) = body.map_err(|error| NoAnswer::Unknown(describe(error)))?;
    if !is_whole {
        return Err(too_big());
    }
    if encoding.is_none() && body.starts_with(BYTE_ORDER_MARK) {
        body.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(HttpAnswer { status, is_json, set_cookies, encoding, body })
}

/// `application/json`, or a type with the structured syntax suffix `+json` (RFC 6839).
fn is_json(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else { return false };
    let media_type = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// An error with its causes, on one line, without the URL; a TLS fault in the words of [`TlsFault`].
fn describe(error: reqwest::Error) -> String {
    if let Some(fault) = TlsFault::of(&error) {
        return fault.to_string();
    }
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
