//! Check of the FIDO2 server: whether it can be reached with the configured files.

use super::finding::Finding;
use super::tls::secret_is_open;
use crate::config::{Config, HttpUpstream, Upstream};
use crate::serve::UpstreamWarning;
use crate::trust::TlsFault;

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let (whose, secrets) = match &config.upstream {
        Upstream::Builtin => ("the built-in FIDO2 server".to_owned(), Vec::new()),
        Upstream::Http(http) => {
            (format!("the FIDO2 server at {}", http.url), http_secrets(http).collect())
        }
    };
    let reached = match crate::serve::probe_upstream(config).await {
        Ok(None) => Finding::good("upstream", format!("{whose} can be used")),
        Ok(Some(UpstreamWarning::Metadata(says))) => {
            Finding::doubtful("upstream", says.to_owned(), "download it again")
        }
        // A gateway without its key or client certificate answers every path with such a status.
        Ok(Some(UpstreamWarning::Status(status))) => Finding::doubtful(
            "upstream",
            format!("{whose} is there and answers {status} to GET /"),
            "expected if the server has no such path; if a gateway before it requires a key or a \
             certificate, set \
             upstream.headers_file or upstream.client_cert_file",
        ),
        Err(unreachable) => {
            let says = format!("{whose}: {}", unreachable.says);
            Finding::wrong("upstream", says, remedy(config, unreachable.tls))
        }
    };
    secrets.into_iter().chain([reached]).collect()
}

/// The files with secrets that every user can reach.
fn http_secrets(http: &HttpUpstream) -> impl Iterator<Item = Finding> {
    let key = http.client_cert.as_ref().map(|(_, key)| key);
    let files = key.into_iter().chain(&http.headers_file);
    files.filter_map(|file| secret_is_open("upstream", file))
}

fn remedy(config: &Config, fault: Option<TlsFault>) -> &'static str {
    match (&config.upstream, fault) {
        (Upstream::Builtin, _) => "correct the attestation settings",
        (Upstream::Http(_), None) => {
            "start the server, let this machine reach it, or correct upstream.url and the files of \
             upstream.*"
        }
        (Upstream::Http(_), Some(TlsFault::UnknownAuthority)) => {
            "set upstream.ca_file to a PEM file of that authority, and let the server send the \
             certificates in between"
        }
        (Upstream::Http(_), Some(TlsFault::AuthorityAsServer)) => {
            "give the server a certificate without CA:TRUE, and name the one that issued it in \
             upstream.ca_file"
        }
        (Upstream::Http(_), Some(TlsFault::OtherName)) => {
            "call it by a name of its certificate in upstream.url, or give it a certificate for \
             this one"
        }
        (Upstream::Http(_), Some(TlsFault::Expired)) => {
            "renew the server's certificate, and look at this machine's clock"
        }
        (Upstream::Http(_), Some(TlsFault::NotYetValid)) => "look at the clocks of both machines",
        (Upstream::Http(_), Some(TlsFault::ClientCertificateRequired)) => {
            "set upstream.client_cert_file and upstream.client_key_file"
        }
        (Upstream::Http(_), Some(TlsFault::ClientCertificateRefused)) => {
            "renew upstream.client_cert_file, from the authority that the server trusts, with the \
             certificates in between"
        }
    }
}
