//! The URLs that an endpoint may have.
//!
//! A URL must be in the normal form that the parser itself serialises. Forms on which parsers
//! disagree (hosts as one number, octal parts, capitals, backslashes, tabs, an `@`) are refused.

use std::net::IpAddr;

use fido_relay_proto::limits::WEBHOOK_URL;
use url::{Host, Url};

use super::super::outbound;
use super::WebhookHttpSettings;
use super::address;
use crate::ports::{Registrar, Unsendable};

/// Parses a URL if deliveries may go there.
pub(super) fn permit(
    settings: &WebhookHttpSettings,
    text: &str,
    registrar: Registrar,
) -> Result<Url, Unsendable> {
    if text.len() > WEBHOOK_URL {
        return Err(Unsendable::Form);
    }
    let url = Url::parse(text).map_err(|_| Unsendable::Form)?;
    if url.scheme() != "https" && url.scheme() != "http" {
        return Err(Unsendable::Scheme);
    }
    let as_written = url.as_str() == text || url.as_str().strip_suffix('/') == Some(text);
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    let host = url.host().ok_or(Unsendable::Form)?;
    let rooted = matches!(host, Host::Domain(domain) if domain.ends_with('.'));
    if !as_written || !plain || rooted || text.contains('@') {
        return Err(Unsendable::Form);
    }
    if settings.allow_loopback_http && outbound::is_loopback(&host) {
        return Ok(url);
    }
    if url.scheme() != "https" {
        return Err(Unsendable::Scheme);
    }
    // `port()` is `None` for the scheme's default port.
    if url.port().is_some_and(|port| !settings.allowed_ports.contains(&port)) {
        return Err(Unsendable::Port);
    }
    if registrar == Registrar::Client && !is_listed(&settings.allowed_hosts, &host) {
        return Err(Unsendable::Host);
    }
    let literal = match host {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(IpAddr::V6(address)),
    };
    match literal {
        Some(literal) if !address::is_permitted(literal, &settings.allowed_networks) => {
            Err(Unsendable::Address)
        }
        Some(_) | None => Ok(url),
    }
}

/// Whether a pattern names the host: itself, or `*.` and a domain above it.
fn is_listed(patterns: &[String], host: &Host<&str>) -> bool {
    let host = host.to_string();
    patterns.iter().any(|pattern| match pattern.strip_prefix('*') {
        Some(above) => host.strip_suffix(above).is_some_and(|label| !label.is_empty()),
        None => *pattern == host,
    })
}
