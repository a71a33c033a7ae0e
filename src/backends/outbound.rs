//! The rules of every HTTP call that a backend makes: the called host is the configured one, nothing
//! is followed or repeated, and of an answer only so much is read.
//!
//! It knows HTTP, and neither the servers nor what their answers mean.

use std::path::Path;
use std::time::UNIX_EPOCH;

use fido_relay_proto::UnixMillis;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{ClientBuilder, Response, redirect, retry};
use url::Host;

use crate::ports::RetryAfter;
use crate::trust;

/// A client that follows no redirect, repeats nothing by itself, and uses no proxy of the
/// environment (`HTTPS_PROXY`).
pub(super) fn client() -> ClientBuilder {
    trust::http_client()
        .user_agent(concat!("fido-relay/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .no_proxy()
}

/// The client with the certificates of a PEM file trusted in addition to the system's.
///
/// # Errors
/// Why the file cannot be used, with its name.
pub(super) fn trusting(builder: ClientBuilder, file: &Path) -> Result<ClientBuilder, String> {
    let roots = trust::certificates(file).map_err(|why| format!("{}: {why}", file.display()))?;
    Ok(builder.tls_certs_merge(roots))
}

/// The body of an answer, up to `limit` bytes, and whether that is all of it. No more is read.
pub(super) async fn body(mut response: Response, limit: usize) -> reqwest::Result<(Vec<u8>, bool)> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = limit - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((body, false));
        }
    }
    Ok((body, true))
}

/// `Retry-After`: seconds, or a date in any form of RFC 9110 section 5.6.7. If the answer has a
/// `Date`, too, their difference counts, so that the two clocks need not agree.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<RetryAfter> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let date = |text| httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok();
    let asked = text(RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(RetryAfter::Seconds(seconds));
    }
    let at = date(asked)?;
    Some(match text(DATE).and_then(date) {
        Some(now) => RetryAfter::Seconds(at.saturating_sub(now).as_secs()),
        None => RetryAfter::At(UnixMillis(u64::try_from(at.as_millis()).ok()?)),
    })
}

/// Whether a host means this machine, by its name or by its address.
pub(super) fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(domain) => *domain == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}
