//! The listeners: TLS, trusted proxies, and the admin listener.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// TLS on the relay's own listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file of the certificate and its chain, in this order.
    pub cert_file: PathBuf,
    /// PEM file of the private key (PKCS#8, SEC 1 or PKCS#1).
    pub key_file: PathBuf,
    /// Interval at which the files are checked for changes.
    pub reload: Duration,
}

/// Proxies in front of the relay, and how they pass on the client's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// Proxies whose forwarding headers are trusted. Empty: headers are ignored.
    pub trusted: Vec<IpNet>,
    /// The header that carries the client's address.
    pub header: Option<ForwardedHeader>,
    /// Whether connections of trusted proxies begin with a PROXY protocol header.
    pub protocol: bool,
}

/// The HTTP header in which a proxy passes on the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Forwarded-For`, with `X-Forwarded-Proto` beside it.
    XForwardedFor,
}

/// The listener for metrics and health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdminListener {
    /// `None`: there is none.
    pub listen: Option<SocketAddr>,
    /// Whether other machines may reach it.
    pub allow_remote: bool,
}
