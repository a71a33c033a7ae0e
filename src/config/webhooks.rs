//! The table `webhooks`: which endpoints webhooks may be sent to.

use std::path::PathBuf;

use ipnet::IpNet;

/// Allowed endpoints. Without `allowed_hosts` only the operator can register one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhooksConfig {
    /// Hosts that initiators may register: a host, or `*.` and a domain for its subdomains.
    pub allowed_hosts: Vec<String>,
    /// Allowed ports other than 443.
    pub allowed_ports: Vec<u16>,
    /// Private networks that endpoints may be in.
    pub allowed_networks: Vec<IpNet>,
    /// PEM file of certificate authorities, trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether endpoints may be on loopback and use http.
    pub allow_loopback_http: bool,
}
