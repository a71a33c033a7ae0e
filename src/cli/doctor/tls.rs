//! Checks of the certificate and its key: validity, expiry, and the name in `public_url`.

use std::path::Path;

use super::finding::Finding;
use crate::backends::embedded::SystemClock;
use crate::config::{Config, TlsConfig};
use crate::edge::listener::{Certificate, CertificateError};
use crate::ports::Clock as _;
use crate::serve::listening;

/// Automatic renewal happens a month before the end; with less than this left it has failed.
const FEW_DAYS: i64 = 14;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let Some(tls) = &config.tls else { return Vec::new() };
    let now = SystemClock.now();
    let mut findings = match Certificate::load(&listening::certificate_files(tls), now) {
        Ok(pair) => vec![time(pair.days_left(now), tls), name(&pair, config)],
        Err(error) => {
            let remedy = remedy(&error);
            vec![Finding::wrong("tls", error, remedy)]
        }
    };
    findings.extend(secret_is_open("tls", &tls.key_file));
    findings
}

fn time(days: i64, tls: &TlsConfig) -> Finding {
    let unit = if days == 1 { "day" } else { "days" };
    let says = format!("{} and its key match; valid for {days} {unit}", tls.cert_file.display());
    if days < FEW_DAYS {
        Finding::doubtful("tls", says, "renew it; the running relay loads the new files by itself")
    } else {
        Finding::good("tls", says)
    }
}

fn name(pair: &Certificate, config: &Config) -> Finding {
    let host = config.public_url.host_str().unwrap_or_default();
    if pair.covers(host) {
        return Finding::good("tls", format!("the certificate covers {host}"));
    }
    let says = format!("the certificate does not cover {host}, the host of public_url");
    Finding::wrong("tls", says, "get a certificate for that name, or correct public_url")
}

fn remedy(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Unreadable { .. } => {
            "correct the path, let the relay's user read the file, and write it as PEM"
        }
        CertificateError::Certificate { .. } => {
            "put the certificate and those that lead to its root into tls.cert_file, as PEM"
        }
        CertificateError::Key { .. } => {
            "use an ECDSA, RSA or Ed25519 key as PKCS#8, SEC 1 or PKCS#1"
        }
        CertificateError::Mismatch { .. } => "name the private key of this certificate",
        CertificateError::Time { .. } => "renew the certificate, and look at this machine's clock",
        CertificateError::Tls(_) => {
            "not a configuration error: this machine provides no randomness"
        }
    }
}

/// Reports a file with a secret that every user can reach.
#[cfg(unix)]
pub(super) fn secret_is_open(about: &'static str, file: &Path) -> Option<Finding> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = std::fs::metadata(file).ok()?.permissions().mode() & 0o777;
    (mode & 0o007 != 0).then(|| {
        Finding::wrong(
            about,
            format!("every user can access {} (mode {mode:04o})", file.display()),
            format!("chmod o-rwx {}", file.display()),
        )
    })
}

#[cfg(not(unix))]
pub(super) fn secret_is_open(_about: &'static str, _file: &Path) -> Option<Finding> {
    None
}
