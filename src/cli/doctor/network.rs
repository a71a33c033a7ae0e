//! Checks of `listen`, `public_url` and the trusted certificate authorities.

use std::time::Duration;

use super::finding::Finding;
use crate::cli::health;
use crate::config::Config;
use crate::serve;
use crate::trust;

/// Limit of one call, through a proxy too.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether the address is free. Only checked while no relay runs on this data directory.
pub(super) async fn listen(config: &Config) -> Finding {
    let error = match serve::bind(config) {
        Ok(listener) => {
            drop(listener);
            return Finding::good("listen", format!("{} is free", config.listen));
        }
        Err(error) => error,
    };
    let asked = health::ask(config.listen_scheme(), config.listen, "healthz", PATIENCE).await;
    if asked.is_ok_and(|status| status.is_success()) {
        return Finding::wrong(
            "listen",
            format!("a relay answers at {}, with another data directory", config.listen),
            "give this command that relay's --config or data_dir, or run it in that relay's working \
             directory; for a second relay, another listen",
        );
    }
    let remedy = error.remedy().unwrap_or_else(|| "correct listen".to_owned());
    Finding::wrong("listen", error, remedy)
}

/// The authorities that this machine trusts, for webhooks and an external FIDO2 server.
pub(super) fn authorities() -> Finding {
    match trust::system_roots() {
        0 => Finding::doubtful(
            "certificates",
            "this machine trusts no certificate authority: webhooks and a FIDO2 server by https \
             cannot be called",
            trust::REMEDY,
        ),
        roots => Finding::good("certificates", format!("{roots} authorities are trusted")),
    }
}

/// Calls `public_url` as apps do, with the authorities that this machine trusts. Plain http is not
/// called: the configuration allows it on loopback, or with a warning.
pub(super) async fn public_url(config: &Config, runs: bool) -> Finding {
    let url = serve::base(&config.public_url);
    if config.public_url.scheme() != "https" {
        return Finding::good("public_url", format!("{url}, without TLS"));
    }
    if trust::system_roots() == 0 {
        let says = format!("{url} cannot be checked without certificate authorities");
        return Finding::doubtful("public_url", says, trust::REMEDY);
    }
    let client = trust::http_client().no_proxy().timeout(PATIENCE).build();
    let asked = match client {
        Ok(client) => client.get(format!("{url}/healthz")).send().await,
        Err(error) => Err(error),
    };
    match asked {
        Ok(response) if response.status().is_success() => {
            Finding::good("public_url", format!("{url} has a valid certificate and answers"))
        }
        Ok(response) => {
            let says = format!("{url} has a valid certificate, but answers {}", response.status());
            if runs {
                Finding::wrong("public_url", says, "let the proxy forward every path to this relay")
            } else {
                Finding::doubtful("public_url", says, "run doctor again while the relay runs")
            }
        }
        Err(error) => {
            let cause = health::root(&error);
            let says = format!("{url} cannot be dialled: {cause}");
            if is_about_tls(&error) {
                let remedy = if config.tls.is_some() {
                    "let tls.cert_file be a certificate for this name from an authority that phones \
                     trust"
                } else {
                    "give the proxy a certificate for this name from an authority that phones trust, \
                     and let it speak TLS on this port"
                };
                Finding::wrong("public_url", says, remedy)
            } else {
                let remedy = "expected if this machine cannot reach its public address; otherwise \
                              start the proxy, or correct public_url";
                Finding::doubtful("public_url", says, remedy)
            }
        }
    }
}

/// Whether an error is one of TLS: the library reports it as invalid data, which others wrap.
fn is_about_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    let Some(io) = error.downcast_ref::<std::io::Error>() else {
        return error.source().is_some_and(is_about_tls);
    };
    // An I/O error does not return the error that it wraps as its source.
    matches!(io.kind(), InvalidData | UnexpectedEof)
        || io.get_ref().is_some_and(|inner| is_about_tls(inner))
}
