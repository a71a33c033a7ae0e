//! Where webhooks may go. Knows nothing of events or of HTTP.

use std::path::PathBuf;

use ipnet::IpNet;

/// Where webhooks may go. Without anything here only the operator can register an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Webhooks {
    /// Hosts that initiators may name: a host, or `*.` and a domain for everything below it.
    pub allowed_hosts: Vec<String>,
    /// Ports beside 443.
    pub allowed_ports: Vec<u16>,
    /// Networks that are not public and may be connected to all the same.
    pub allowed_networks: Vec<IpNet>,
    /// PEM file of certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether endpoints may be on this machine, by http too.
    pub allow_loopback_http: bool,
}
