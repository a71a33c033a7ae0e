//! TLS on the relay's own listener: a certificate and its key, read again when their files change.
//!
//! ```text
//!   every interval, SIGHUP ──▶ changed? ──▶ load: readable, fits, in time ──▶ new handshakes get it
//!                                                     └── no: a line at error, the old one stays
//! ```
//! Established connections keep their certificate. Knows nothing of HTTP.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use fido_relay_proto::UnixMillis;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::ProducesTickets;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{Error, InconsistentKeys, ServerConfig};

use crate::ports::Clock;
use crate::tasks::Tasks;

/// The files of a certificate.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// PEM: the certificate and its chain.
    pub cert: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// Why a certificate cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read, or is no PEM.
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: String },
    /// The certificate cannot be parsed.
    #[error("{} holds no certificate that can be used: {reason}", path.display())]
    Certificate { path: PathBuf, reason: String },
    /// The key is of an unsupported kind.
    #[error("{} holds no key that can be used", path.display())]
    Key { path: PathBuf },
    /// The certificate is for another key.
    #[error("the key in {} is not that of the certificate", path.display())]
    Mismatch { path: PathBuf },
    /// The certificate has expired, or is not valid yet.
    #[error("the certificate in {} is not valid now: {reason}", path.display())]
    Time { path: PathBuf, reason: String },
    /// The cryptographic library failed.
    #[error("TLS cannot be had: {0}")]
    Tls(#[from] Error),
}

/// A certificate that matches its key and is valid now.
#[derive(Debug)]
pub struct Certificate {
    key: CertifiedKey,
    /// In seconds of Unix time.
    ends_at: i64,
}

impl Certificate {
    /// Reads and checks the files.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn load(files: &CertificateFiles, now: UnixMillis) -> Result<Self, CertificateError> {
        let chain = chain(&files.cert)?;
        let unusable =
            |reason: String| CertificateError::Certificate { path: files.cert.clone(), reason };
        let leaf = chain.first().ok_or_else(|| unusable("there is none in it".to_owned()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf)
            .map_err(|error| unusable(error.to_string()))?;
        let validity = parsed.validity();
        let (from, ends_at) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let now = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
        let untimely = |reason: String| CertificateError::Time { path: files.cert.clone(), reason };
        if now > ends_at {
            return Err(untimely(format!("it ended at {}", validity.not_after)));
        }
        if now < from {
            return Err(untimely(format!("it begins at {}", validity.not_before)));
        }
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| {
            CertificateError::Unreadable { path: files.key.clone(), reason: error.to_string() }
        })?;
        let unfit = || CertificateError::Key { path: files.key.clone() };
        let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|_| unfit())?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(CertificateError::Mismatch { path: files.key.clone() }),
        }
        Ok(Self { key, ends_at })
    }

    /// Whole days until it expires.
    #[must_use]
    pub fn days_left(&self, now: UnixMillis) -> i64 {
        (self.ends_at - i64::try_from(now.0 / 1000).unwrap_or(i64::MAX)) / (24 * 60 * 60)
    }

    /// Whether it is a certificate for this host, a name or an address.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let (Ok(name), Ok(leaf)) = (ServerName::try_from(host), self.key.end_entity_cert()) else {
            return false;
        };
        let leaf = webpki::EndEntityCert::try_from(leaf);
        leaf.is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(&name).is_ok())
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let unreadable = |error: rustls_pki_types::pem::Error| CertificateError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .map(|one| one.map_err(unreadable))
        .collect()
}

/// Modification time and size of both files; a difference means that they may have changed.
type FileStamps = [Option<(SystemTime, u64)>; 2];

/// The TLS configuration in use.
#[derive(Debug)]
pub(super) struct Tls {
    files: CertificateFiles,
    current: ArcSwap<ServerConfig>,
    /// Kept when the certificate changes, so that a phone resumes with an earlier ticket.
    tickets: Arc<dyn ProducesTickets>,
}

impl Tls {
    pub(super) fn load(files: CertificateFiles, now: UnixMillis) -> Result<Self, CertificateError> {
        let tickets = aws_lc_rs::Ticketer::new()?;
        let config = serving(Certificate::load(&files, now)?, &tickets)?;
        Ok(Self { files, current: ArcSwap::from_pointee(config), tickets })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Loads the files again when they change or on SIGHUP, until the tasks stop.
    pub(super) async fn watch(
        self: Arc<Self>,
        every: Duration,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) {
        let stopping = tasks.stopping().clone();
        let mut signal = reload_signal();
        let mut seen = self.stamps();
        loop {
            let requested = tokio::select! {
                () = stopping.cancelled() => return,
                () = reload_requested(&mut signal) => true,
                () = tokio::time::sleep(every) => false,
            };
            let stamps = self.stamps();
            if requested || stamps != seen {
                seen = stamps;
                self.reload(clock.now());
            }
        }
    }

    fn reload(&self, now: UnixMillis) {
        let loaded = Certificate::load(&self.files, now)
            .and_then(|pair| Ok((pair.days_left(now), serving(pair, &self.tickets)?)));
        match loaded {
            Ok((days, config)) => {
                self.current.store(Arc::new(config));
                tracing::info!(days, "new TLS certificate in use");
            }
            Err(error) => {
                tracing::error!(
                    %error,
                    "the new TLS certificate cannot be used: the old one stays in use"
                );
            }
        }
    }

    fn stamps(&self) -> FileStamps {
        [&self.files.cert, &self.files.key].map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len()))
        })
    }
}

fn serving(
    pair: Certificate,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, CertificateError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair.key)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = Arc::clone(tickets);
    Ok(config)
}

#[cfg(unix)]
type ReloadSignal = Option<tokio::signal::unix::Signal>;
#[cfg(not(unix))]
type ReloadSignal = ();

#[cfg(unix)]
fn reload_signal() -> ReloadSignal {
    let signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    signal.inspect_err(|error| tracing::warn!(%error, "SIGHUP cannot be handled")).ok()
}

#[cfg(not(unix))]
fn reload_signal() -> ReloadSignal {}

#[cfg(unix)]
async fn reload_requested(signal: &mut ReloadSignal) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

#[cfg(not(unix))]
async fn reload_requested(_hangups: &mut ReloadSignal) {
    std::future::pending().await
}
