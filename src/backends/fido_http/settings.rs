//! The settings of an external FIDO2 server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;

use crate::ports::CertifyStep;

/// The server's two sets of paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathSet {
    /// `/fidoapi/certify/{attestation,assertion}/{options,result}`.
    #[default]
    Certify,
    /// `/fidoapi/{register,authenticate}/{begin,complete}`.
    Alias,
}

impl PathSet {
    /// The path of one call, relative to the base URL.
    pub(super) const fn path(self, step: CertifyStep) -> &'static str {
        match (self, step) {
            (Self::Certify, CertifyStep::AttestationOptions) => {
                "/fidoapi/certify/attestation/options"
            }
            (Self::Certify, CertifyStep::AttestationResult) => {
                "/fidoapi/certify/attestation/result"
            }
            (Self::Certify, CertifyStep::AssertionOptions) => "/fidoapi/certify/assertion/options",
            (Self::Certify, CertifyStep::AssertionResult) => "/fidoapi/certify/assertion/result",
            (Self::Alias, CertifyStep::AttestationOptions) => "/fidoapi/register/begin",
            (Self::Alias, CertifyStep::AttestationResult) => "/fidoapi/register/complete",
            (Self::Alias, CertifyStep::AssertionOptions) => "/fidoapi/authenticate/begin",
            (Self::Alias, CertifyStep::AssertionResult) => "/fidoapi/authenticate/complete",
        }
    }
}

/// The usernames that the server accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsernameForm {
    /// All that the relay accepts.
    #[default]
    AsIs,
    /// Those of `a-z`, `A-Z`, `0-9`, `.`, `_` and `-`; others are refused without a call.
    Restricted,
}

impl UsernameForm {
    pub(super) fn takes(self, username: &str) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        self == Self::AsIs || (!username.is_empty() && username.bytes().all(plain))
    }
}

/// PEM files of a client certificate with its chain, and of its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCert {
    pub cert_file: PathBuf,
    /// PKCS#8, SEC 1 or PKCS#1.
    pub key_file: PathBuf,
}

/// The settings of the calls. Files are read once, by [`FidoHttp::new`](super::FidoHttp::new).
#[derive(Clone, Debug)]
pub struct FidoHttpSettings {
    /// `http` or `https`, a host, and optionally a path before `/fidoapi/…`. No other host is called.
    pub base_url: Url,
    /// The origin in `clientDataJSON`; `None`: the base URL's.
    pub origin: Option<String>,
    pub paths: PathSet,
    /// Timeout of a begin call, connecting included.
    pub begin_limit: Duration,
    /// Timeout of a completion call, connecting included; at most 15 s, so that the verdict comes
    /// before the core closes the ceremony as indeterminate.
    pub complete_limit: Duration,
    /// Mean pause before a call is repeated; each is drawn from half to one and a half of it.
    pub retry_pause: Duration,
    /// Whether verdicts have the evidence that receipts need.
    pub receipts: bool,
    /// PEM file of authorities that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    pub client_cert: Option<ClientCert>,
    /// File of `Name: value` lines: headers of every call.
    pub headers_file: Option<PathBuf>,
    pub usernames: UsernameForm,
    /// Client-direct: whether programs reach the relay by https, so that they send cookies back
    /// that are `Secure`.
    pub secure_cookies: bool,
}

impl FidoHttpSettings {
    /// The defaults for a server: certify paths, the base URL's origin, 5 s to begin, 10 s to
    /// complete.
    #[must_use]
    pub fn new(base_url: Url) -> Self {
        Self {
            base_url,
            origin: None,
            paths: PathSet::default(),
            begin_limit: Duration::from_secs(5),
            complete_limit: Duration::from_secs(10),
            retry_pause: Duration::from_millis(200),
            receipts: false,
            ca_file: None,
            client_cert: None,
            headers_file: None,
            usernames: UsernameForm::default(),
            secure_cookies: false,
        }
    }

    /// Whether the settings can serve.
    pub(super) fn check(&self) -> Result<(), FidoHttpSettingsError> {
        let url = &self.base_url;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !plain {
            return Err(FidoHttpSettingsError::BaseUrl);
        }
        if self.complete_limit > Duration::from_secs(15) {
            return Err(FidoHttpSettingsError::CompleteLimit);
        }
        Ok(())
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FidoHttpSettingsError {
    /// Not a plain `http` or `https` URL.
    #[error("the FIDO2 server's base URL must be http or https, without user, query and fragment")]
    BaseUrl,
    /// Longer than the core waits.
    #[error("a completion call may take at most 15 seconds")]
    CompleteLimit,
    /// An https URL that no certificate could be trusted for.
    #[error(
        "upstream.url is https, but this machine trusts no certificate authority: set upstream.ca_file, or {}",
        crate::trust::REMEDY
    )]
    NoRoots,
    /// A file that cannot be read or does not hold what it should.
    #[error("upstream.{key}: {}: {why}", path.display())]
    File {
        /// The configuration's key of the file, without its table.
        key: &'static str,
        path: PathBuf,
        /// The error, which repeats nothing of the content.
        why: String,
    },
    /// No HTTP client could be made; the text says what TLS lacks.
    #[error("no HTTP client for upstream.url: {0}")]
    Client(String),
}

impl FidoHttpSettingsError {
    pub(super) fn file(key: &'static str, path: &Path, why: String) -> Self {
        Self::File { key, path: path.to_owned(), why }
    }
}
