//! `fido-relay health`: the health check of a container, which has no other HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::http::StatusCode;
use clap::Args;

use super::{ConfigFile, Failure, block_on};

/// Requests /healthz at the configured listen address.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 alive, 1 not, 2 wrong configuration.")]
pub(super) struct HealthArguments {
    /// Request /readyz instead: whether it may take traffic
    #[arg(long)]
    ready: bool,
    /// Seconds to wait
    #[arg(long, default_value = "3", value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

pub(super) fn run(file: &ConfigFile, arguments: &HealthArguments) -> Result<(), Failure> {
    let config = file.config()?;
    let listen = reachable(config.listen);
    let scheme = config.listen_scheme();
    let path = if arguments.ready { "readyz" } else { "healthz" };
    let limit = Duration::from_secs(arguments.timeout);
    block_on(async {
        match ask(scheme, listen, path, limit).await.map_err(Failure::failed)? {
            status if status.is_success() => Ok(()),
            status => Err(Failure::failed(format!("the relay at {listen} answers {status}"))),
        }
    })
}

/// The status that a relay at this address answers to a GET, or a sentence if none answers.
/// The certificate is not verified: it is for the public name, and this is a call to the machine's
/// own address that sends no secret.
pub(super) async fn ask(
    scheme: &str,
    listen: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<StatusCode, String> {
    let listen = reachable(listen);
    let unreachable =
        |error: reqwest::Error| format!("no relay answers at {listen}: {}", root(&error));
    let client = crate::trust::http_client()
        .no_proxy()
        .timeout(limit)
        .tls_danger_accept_invalid_certs(true)
        .build()
        .map_err(unreachable)?;
    let response =
        client.get(format!("{scheme}://{listen}/{path}")).send().await.map_err(unreachable)?;
    Ok(response.status())
}

/// The address to dial for a listening address: loopback for all interfaces.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The innermost cause: the outer errors only say that a request failed.
pub(super) fn root<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error)
}
