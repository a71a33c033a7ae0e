//! The keys of the listeners: TLS, trusted proxies, and the admin listener.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::config::limit::Limit;
use crate::config::reader::ConfigReader;
use crate::config::{AdminListener, Config, Proxy, TlsConfig};

/// Shortest allowed prefixes (IPv4, IPv6): those of the private networks 10.0.0.0/8 and fc00::/7.
const WIDEST: (u8, u8) = (8, 7);

const RELOAD: Limit = Limit::new("tls.reload_s", 30, 1..=3_600)
    .documented(&["seconds between two checks of the files; SIGHUP checks at once"]);

pub(super) fn read_tls(reader: &mut ConfigReader) -> Option<TlsConfig> {
    let pair = read_pair(reader, "tls.cert_file", "tls.key_file");
    let reload = reader.limit(RELOAD);
    pair.map(|(cert_file, key_file)| TlsConfig { cert_file, key_file, reload })
}

/// Reads the files of a certificate and of its key: both or neither.
pub(super) fn read_pair(
    reader: &mut ConfigReader,
    cert: &'static str,
    key: &'static str,
) -> Option<(PathBuf, PathBuf)> {
    let (cert_file, key_file) = (reader.optional(cert), reader.optional(key));
    if cert_file.is_some() && !reader.is_given(key) {
        reader.reject(cert, format!("needs {key}, its private key"));
    }
    if key_file.is_some() && !reader.is_given(cert) {
        reader.reject(key, format!("needs {cert}, the certificate of this key"));
    }
    cert_file.zip(key_file)
}

pub(super) fn read_proxy(reader: &mut ConfigReader) -> Proxy {
    let trusted: Vec<IpNet> = reader.take("proxy.trusted", Vec::new());
    let header = reader.optional("proxy.header");
    let protocol = reader.take("proxy.protocol", false);
    if trusted.iter().any(is_too_wide) {
        let text = format!(
            "must name the proxies alone: in a network wider than /{} (IPv6: /{}) other \
             machines could choose the address that they are counted by",
            WIDEST.0, WIDEST.1
        );
        reader.reject("proxy.trusted", text);
    }
    let none_trusted = trusted.is_empty();
    if none_trusted && header.is_some() {
        reader
            .reject("proxy.header", "needs proxy.trusted: from other peers the header is ignored");
    }
    if none_trusted && protocol {
        let text = "needs proxy.trusted: only the proxies there may send a PROXY header, and must";
        reader.reject("proxy.protocol", text);
    }
    if !none_trusted && header.is_none() && !protocol && !reader.is_given("proxy.header") {
        let text = "needs proxy.header or proxy.protocol: how the proxies name the client";
        reader.reject("proxy.trusted", text);
    }
    Proxy { trusted, header, protocol }
}

fn is_too_wide(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() < WIDEST.0,
        IpNet::V6(network) => network.prefix_len() < WIDEST.1,
    }
}

pub(super) fn read_admin(reader: &mut ConfigReader) -> AdminListener {
    let listen: Option<SocketAddr> = reader.optional("admin.listen");
    let allow_remote = reader.take("admin.allow_remote", false);
    match listen {
        Some(address) if !address.ip().is_loopback() && !allow_remote => {
            let text = "must be a loopback address, such as \"127.0.0.1:9090\": metrics are \
                        read there without a credential; or set admin.allow_remote = true";
            reader.reject("admin.listen", text);
        }
        Some(_) | None => {}
    }
    AdminListener { listen, allow_remote }
}

/// A listener with a certificate is dialled with https.
pub(super) fn check_tls(reader: &mut ConfigReader, config: &Config) {
    if config.tls.is_some() && config.public_url.scheme() != "https" {
        reader.reject("public_url", "must be https: with tls.cert_file nothing else is served");
    }
}
