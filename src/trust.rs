//! The certificate authorities that this machine trusts, and HTTP clients that do.
//!
//! A machine may have none: a minimal container, a broken `SSL_CERT_FILE`. The TLS library then
//! refuses to make a client at all, also one that will only ever speak plain HTTP. Here it makes
//! an empty one, so that what needs no certificate works and a call by https fails with
//! the reason.

use std::sync::OnceLock;

use tokio_rustls::rustls::RootCertStore;

/// What an operator can do when [`system_roots`] is 0.
pub const REMEDY: &str = "install them (Debian, Ubuntu, Alpine: ca-certificates) or name a file of them in SSL_CERT_FILE";

/// How many authorities this machine trusts; read once.
#[must_use]
pub fn system_roots() -> usize {
    static ROOTS: OnceLock<usize> = OnceLock::new();
    *ROOTS.get_or_init(|| {
        let certificates = rustls_native_certs::load_native_certs().certs;
        RootCertStore::empty().add_parsable_certificates(certificates).0
    })
}

/// A client that trusts this machine's authorities, if there are any.
pub fn http_client() -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder();
    if system_roots() == 0 { builder.tls_certs_only([]) } else { builder }
}
