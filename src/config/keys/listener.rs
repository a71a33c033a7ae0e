//! The keys of the listener itself: TLS, proxies in front, and how many may come how fast.

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::{size, small};
use crate::config::listener::{Proxy, Tls};
use crate::config::reader::Reader;
use crate::config::{Config, ListenerLimits};

/// No private network is wider than 10.0.0.0/8 and fc00::/7.
const WIDEST: (u8, u8) = (8, 7);

pub(super) fn read_tls(reader: &mut Reader) -> Option<Tls> {
    let pair = read_pair(reader, "tls.cert_file", "tls.key_file");
    let reload = Duration::from_secs(reader.number("tls.reload_s", 30, 1..=3_600));
    pair.map(|(cert_file, key_file)| Tls { cert_file, key_file, reload })
}

/// The files of a certificate and of its key: both or neither.
pub(super) fn read_pair(
    reader: &mut Reader,
    cert: &'static str,
    key: &'static str,
) -> Option<(PathBuf, PathBuf)> {
    let (cert_file, key_file) = (reader.optional(cert), reader.optional(key));
    if cert_file.is_some() && !reader.is_given(key) {
        reader.wrong(cert, format!("needs {key}, its private key"));
    }
    if key_file.is_some() && !reader.is_given(cert) {
        reader.wrong(key, format!("needs {cert}, the certificate of this key"));
    }
    cert_file.zip(key_file)
}

pub(super) fn read_proxy(reader: &mut Reader) -> Proxy {
    let trusted: Vec<IpNet> = reader.take("proxy.trusted", Vec::new());
    let header = reader.optional("proxy.header");
    let protocol = reader.take("proxy.protocol", false);
    if trusted.iter().any(is_too_wide) {
        let text = format!(
            "must name the proxies and nobody else: a network wider than /{} (IPv6: /{}) lets \
             strangers choose their own address",
            WIDEST.0, WIDEST.1
        );
        reader.wrong("proxy.trusted", text);
    }
    let nobody = trusted.is_empty();
    if nobody && header.is_some() {
        reader.wrong("proxy.header", "needs proxy.trusted: from anybody else it is not read");
    }
    if nobody && protocol {
        let text = "needs proxy.trusted: only the proxies there may send a PROXY header, and must";
        reader.wrong("proxy.protocol", text);
    }
    if !nobody && header.is_none() && !protocol && !reader.is_given("proxy.header") {
        let text = "needs proxy.header or proxy.protocol: how the proxies name the client";
        reader.wrong("proxy.trusted", text);
    }
    Proxy { trusted, header, protocol }
}

fn is_too_wide(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() < WIDEST.0,
        IpNet::V6(network) => network.prefix_len() < WIDEST.1,
    }
}

pub(super) fn read_limits(reader: &mut Reader) -> ListenerLimits {
    let seconds = Duration::from_secs;
    ListenerLimits {
        tls: seconds(reader.number("limits.tls_s", 5, 1..=30)),
        idle: seconds(reader.number("limits.idle_s", 75, 5..=3_600)),
        unread: seconds(reader.number("limits.unread_s", 10, 1..=120)),
        unread_known: seconds(reader.number("limits.unread_known_s", 30, 1..=600)),
        answer: seconds(reader.number("limits.answer_s", 60, 5..=3_600)),
        eviction_age: seconds(reader.number("limits.eviction_age_s", 2, 1..=60)),
        connections_per_ip: size(reader.number("limits.connections_per_ip", 200, 1..=1_000_000)),
        connections_per_node: size(reader.number(
            "limits.connections_per_node",
            50_000,
            10..=10_000_000,
        )),
        handshakes_per_s_per_ip: small(reader.number(
            "limits.handshakes_per_s_per_ip",
            20,
            1..=100_000,
        )),
        handshakes_per_s_per_node: small(reader.number(
            "limits.handshakes_per_s_per_node",
            1_000,
            1..=1_000_000,
        )),
        memory_mib: reader.optional_number("limits.memory_mib", 64..=1_048_576),
    }
}

/// What is served with a certificate is dialled with https.
pub(super) fn check_tls(reader: &mut Reader, config: &Config) {
    if config.tls.is_some() && config.public_url.scheme() != "https" {
        reader.wrong("public_url", "must be https: with tls.cert_file nothing else is served");
    }
}
