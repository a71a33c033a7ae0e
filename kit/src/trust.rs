//! The certificate authorities that this machine trusts, HTTP clients that trust them, and the
//! causes of failed TLS handshakes. A machine may have none: a minimal container, a broken
//! `SSL_CERT_FILE`. The TLS library then refuses to make any client, even one for plain HTTP. Here
//! the client gets an empty list of authorities instead, so that plain HTTP works and a call by
//! https fails with the reason.

use std::error::Error;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use tokio_rustls::rustls::{
    AlertDescription, CertificateError, Error as TlsError, OtherError, RootCertStore,
};

/// Remedy when [`system_roots`] is 0.
pub const REMEDY: &str = "install them (Debian, Ubuntu, Alpine: ca-certificates) or name a file of them in SSL_CERT_FILE";

/// Number of authorities that this machine trusts; read once.
#[must_use]
pub fn system_roots() -> usize {
    static ROOTS: OnceLock<usize> = OnceLock::new();
    *ROOTS.get_or_init(|| {
        let certificates = rustls_native_certs::load_native_certs().certs;
        RootCertStore::empty().add_parsable_certificates(certificates).0
    })
}

/// Builder of a client that trusts the authorities of this machine. It closes idle connections before
/// a server does (a relay after 75 s), so that no request meets the end of its connection.
pub fn http_client() -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder().pool_idle_timeout(Duration::from_secs(60));
    if system_roots() == 0 { builder.tls_certs_only([]) } else { builder }
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// The reason, without the name of the file.
pub fn certificates(file: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let pem = std::fs::read(file).map_err(|error| error.to_string())?;
    let bundle = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string())?;
    if bundle.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(bundle) }
}

/// Why a TLS handshake with a server failed, where an operator can fix it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// The chain leads to no trusted authority.
    #[error("the certificate is of an authority that this machine does not trust")]
    UnknownAuthority,
    /// A certificate with `CA:TRUE`, as `openssl req -x509` makes it.
    #[error("the certificate is an authority's own, and no server's")]
    AuthorityAsServer,
    #[error("the certificate is for another name")]
    OtherName,
    #[error("the certificate has expired")]
    Expired,
    #[error("the certificate is not valid yet")]
    NotYetValid,
    #[error("the server requires a client certificate")]
    ClientCertificateRequired,
    #[error("the server refuses the client certificate")]
    ClientCertificateRefused,
}

impl TlsFault {
    /// The fault that caused an error of an HTTP client; `None`: another cause.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let error = tls_error(error)?;
        if let TlsError::InvalidCertificate(error) = error {
            return Self::of_certificate(error);
        }
        let TlsError::AlertReceived(alert) = error else { return None };
        match *alert == AlertDescription::CertificateRequired {
            true => Some(Self::ClientCertificateRequired),
            false => REFUSALS.contains(alert).then_some(Self::ClientCertificateRefused),
        }
    }

    fn of_certificate(error: &CertificateError) -> Option<Self> {
        use CertificateError as E;

        let is_authority = |error: &OtherError| {
            matches!(error.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
        };
        let faults = [
            (matches!(error, E::UnknownIssuer), Self::UnknownAuthority),
            (
                matches!(error, E::NotValidForName | E::NotValidForNameContext { .. }),
                Self::OtherName,
            ),
            (matches!(error, E::Expired | E::ExpiredContext { .. }), Self::Expired),
            (matches!(error, E::NotValidYet | E::NotValidYetContext { .. }), Self::NotYetValid),
            (matches!(error, E::Other(other) if is_authority(other)), Self::AuthorityAsServer),
        ];
        faults.into_iter().find_map(|(is, fault)| is.then_some(fault))
    }
}

/// Alerts for a client certificate that the server does not accept (RFC 8446 section 6.2). The last
/// is for a signature by another authority of the same name.
const REFUSALS: [AlertDescription; 7] = [
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::DecryptError,
];

/// Finds the error of the TLS library within another. An I/O error does not return the error that
/// it wraps as its source.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    if let Some(error) = error.downcast_ref() {
        return Some(error);
    }
    let io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    let within = io.and_then(|inner| tls_error(inner));
    within.or_else(|| error.source().and_then(tls_error))
}
