//! The listeners: their settings, made from the configuration, and the admin listener itself.

use std::net::SocketAddr;

use super::StartError;
use crate::config::{Config, ForwardedHeader, TlsConfig};
use crate::edge::listener::{
    self, AcceptLimits, CertificateFiles, ForwardedBy, Listener, ListenerSettings, ProxyTrust,
};
use crate::edge::{self, Edge};
use crate::metrics::Metrics;
use crate::node::Dependencies;

pub(super) fn settings(config: &Config, metrics: Metrics) -> ListenerSettings {
    let proxy = &config.proxy;
    ListenerSettings {
        limits: limits(config),
        tls: config.tls.as_ref().map(|tls| (certificate_files(tls), tls.reload)),
        trust: ProxyTrust {
            proxies: proxy.trusted.clone(),
            header: proxy.header.map(|header| match header {
                ForwardedHeader::Forwarded => ForwardedBy::Forwarded,
                ForwardedHeader::XForwardedFor => ForwardedBy::XForwardedFor,
            }),
            protocol: proxy.protocol,
        },
        plaintext: config.allow_plaintext,
        metrics,
    }
}

/// Serves the admin listener, if it is configured, and returns its address.
pub(super) fn serve_probes(
    config: &Config,
    edge: Edge,
    dependencies: &Dependencies,
) -> Result<Option<SocketAddr>, StartError> {
    let Some(address) = config.admin.listen else { return Ok(None) };
    let failed = |error| StartError::Listen(address, error);
    let listener = listener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let accept = Listener::start(admin_settings(config), &dependencies.clock, &dependencies.tasks)?;
    let serving = listener::serve(listener, edge::probes(edge), dependencies.tasks.clone(), accept);
    dependencies.tasks.spawn_vital("accept on admin.listen", serving);
    Ok(Some(bound))
}

/// Settings of the admin listener: few callers with small requests, by plain HTTP.
pub(super) fn admin_settings(config: &Config) -> ListenerSettings {
    let limits = AcceptLimits {
        header_bytes: 8 * 1024,
        header_count: 32,
        connections_per_ip: 64,
        connections_per_node: 128,
        ..limits(config)
    };
    ListenerSettings {
        limits: AcceptLimits { memory: None, ..limits },
        ..ListenerSettings::default()
    }
}

pub(crate) fn certificate_files(tls: &TlsConfig) -> CertificateFiles {
    CertificateFiles { cert: tls.cert_file.clone(), key: tls.key_file.clone() }
}

fn limits(config: &Config) -> AcceptLimits {
    let (limits, listener) = (&config.limits, &config.limits.listener);
    AcceptLimits {
        tls: listener.tls,
        headers: limits.headers,
        device_auth: limits.accept_to_auth,
        header_bytes: limits.header_bytes,
        header_count: limits.header_count,
        idle: listener.idle,
        unread: listener.unread,
        unread_known: listener.unread_known,
        answer: listener.answer,
        eviction_age: listener.eviction_age,
        accept_backoff: AcceptLimits::default().accept_backoff,
        connections_per_ip: listener.connections_per_ip,
        connections_per_node: listener.connections_per_node.min(spare_files()),
        handshakes_per_s_per_ip: listener.handshakes_per_s_per_ip,
        handshakes_per_s_per_node: listener.handshakes_per_s_per_node,
        memory: listener.memory_mib.map(|mib| mib * 1024 * 1024),
    }
}

/// Open files that connections may use. The rest is for the store, the logs and calls to the FIDO2
/// server: a node without free file descriptors cannot even answer 503.
fn spare_files() -> usize {
    const OTHERS: u64 = 128;
    #[cfg(unix)]
    let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    let allowed: Option<u64> = None;
    let spare = allowed.map(|allowed| allowed.saturating_sub(OTHERS).max(10));
    spare.and_then(|spare| usize::try_from(spare).ok()).unwrap_or(usize::MAX)
}
