//! Where the FIDO2 server is and how long it may take.

use std::time::Duration;

use reqwest::Url;

use crate::ports::CertifyStep;

/// Which of its two sets of paths the server is called by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathSet {
    /// `/fidoapi/certify/{attestation,assertion}/{options,result}`.
    #[default]
    Certify,
    /// `/fidoapi/{register,authenticate}/{begin,complete}`.
    Alias,
}

impl PathSet {
    /// The path of one call, to be put behind the base URL.
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

/// Where the server is and how it is called.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `http` or `https`, a host, and perhaps a path under which `/fidoapi/…` lies. No other
    /// host is ever called.
    pub base_url: Url,
    /// What the card writes into `clientDataJSON`; `None` takes the base URL's origin.
    pub origin: Option<String>,
    /// By which paths the server is called.
    pub paths: PathSet,
    /// Longest begin call, its connection included.
    pub begin_limit: Duration,
    /// Longest completion call, its connection included; at most 15 s, so that the verdict comes
    /// before the core counts its fate as unknown.
    pub complete_limit: Duration,
    /// Mean pause before a call is repeated; each is drawn from half to one and a half of it.
    pub retry_pause: Duration,
    /// Whether an approval asks for what a receipt needs.
    pub receipts: bool,
}

impl Settings {
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
        }
    }

    /// Whether the settings can serve.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let url = &self.base_url;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if !plain {
            return Err(SettingsError::BaseUrl);
        }
        if self.complete_limit > Duration::from_secs(15) {
            return Err(SettingsError::CompleteLimit);
        }
        Ok(())
    }
}

/// Why settings cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not a plain `http` or `https` URL.
    #[error("the FIDO2 server's base URL must be http or https, without user, query and fragment")]
    BaseUrl,
    /// Longer than the core waits.
    #[error("a completion call may take at most 15 seconds")]
    CompleteLimit,
    /// An https URL that no certificate could be trusted for.
    #[error(
        "upstream.url is https, but this machine trusts no certificate authority: {}",
        crate::trust::REMEDY
    )]
    NoRoots,
    /// No HTTP client could be made; the text says what TLS lacks.
    #[error("no HTTP client: {0}")]
    Client(String),
}
