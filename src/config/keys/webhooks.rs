//! The keys of webhooks: which endpoints are allowed.

use crate::config::Config;
use crate::config::reader::ConfigReader;
use crate::config::values::{HostPattern, Port};
use crate::config::weaknesses::is_loopback;
use crate::config::webhooks::WebhooksConfig;

pub(super) fn read(reader: &mut ConfigReader) -> WebhooksConfig {
    let allowed_hosts: Vec<HostPattern> = reader.take("webhooks.allowed_hosts", Vec::new());
    let allowed_ports: Vec<Port> = reader.take("webhooks.allowed_ports", Vec::new());
    WebhooksConfig {
        allowed_hosts: allowed_hosts.into_iter().map(|host| host.0).collect(),
        allowed_ports: allowed_ports.into_iter().map(|port| port.0).collect(),
        allowed_networks: reader.take("webhooks.allowed_networks", Vec::new()),
        ca_file: reader.optional("webhooks.ca_file"),
        allow_loopback_http: reader.take("webhooks.allow_loopback_http", false),
    }
}

/// Refuses the development switch where the relay is published off loopback.
pub(super) fn check(reader: &mut ConfigReader, config: &Config) {
    if config.webhooks.allow_loopback_http && !is_loopback(&config.public_url) {
        let text = "is for development: public_url must then be on a loopback address";
        reader.reject("webhooks.allow_loopback_http", text);
    }
}
