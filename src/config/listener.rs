//! What the listener itself is told: its certificate, and whom to believe about a client's
//! address. Knows nothing of sockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// TLS on the relay's own listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM: the certificate and those that lead to its root, in this order.
    pub cert_file: PathBuf,
    /// PEM: its private key (PKCS#8, SEC 1 or PKCS#1).
    pub key_file: PathBuf,
    /// How often the files are looked at again.
    pub reload: Duration,
}

/// Proxies in front of the relay, and how they name the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// Whose word counts. With nobody here, no header is read.
    pub trusted: Vec<IpNet>,
    /// The header that carries the client's address.
    pub header: Option<ForwardedHeader>,
    /// Connections of trusted peers begin with a PROXY protocol header.
    pub protocol: bool,
}

/// How an HTTP proxy names the client.
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
