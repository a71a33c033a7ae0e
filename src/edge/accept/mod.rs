//! The accept loop: one deadline from the TCP accept, so that neither silence nor dribbling holds
//! a place for long. `axum::serve` has none (it holds such connections as long as they like), and
//! hyper's own header timer starts only when HTTP/1 is known to be spoken: whoever sends the
//! beginning of HTTP/2's preface, or all of it, and then nothing, would be waited for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};
use tower::ServiceExt as _;

use crate::tasks::Tasks;

/// Connections waiting to be accepted. A thousand phones that reconnect at once must not meet a
/// retransmission timer: 8,000 at once took 0.34 s with this, 5.5 s with 128.
const BACKLOG: u32 = 4096;

/// What a connection may cost before it is known.
#[derive(Clone, Copy, Debug)]
pub struct AcceptLimits {
    /// From the accept until the first request's headers are there.
    pub headers: Duration,
    /// From the accept until a device has authenticated.
    pub device_auth: Duration,
    /// Bytes of one request's headers, at least 8 KiB.
    pub header_bytes: usize,
    /// Headers of one request.
    pub header_count: usize,
    /// Pause after an accept that failed for lack of file descriptors.
    pub breather: Duration,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self {
            headers: Duration::from_secs(5),
            device_auth: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            header_count: 64,
            breather: Duration::from_millis(50),
        }
    }
}

/// What is known of whoever asks; an extension of each request.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The other end of the TCP connection: a proxy, where there is one.
    pub peer: SocketAddr,
    /// Who asks: the peer, or whom a trusted proxy names. Limits and rules by address are about
    /// this one.
    pub client: IpAddr,
    /// Whether nobody in between can read along, as far as is known here.
    pub secure: bool,
    /// When a device on this connection must have authenticated.
    pub auth_by: Instant,
}

/// A listener with a backlog that fits a reconnection storm.
///
/// # Errors
/// The operating system's.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until the tasks are asked to stop; open requests then still end.
pub async fn serve(listener: TcpListener, router: Router, tasks: Tasks, limits: AcceptLimits) {
    let stopping = tasks.stopping().clone();
    while let Some(accepted) = stopping.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                let (router, stopping) = (router.clone(), tasks.stopping().clone());
                tasks.spawn_bare(async move {
                    connection(stream, peer, router, stopping, limits).await;
                });
            }
            // One connection's fault (ECONNABORTED) or the node's (EMFILE): either way the loop
            // must live, and must not spin.
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(limits.breather).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    stopping: tokio_util::sync::CancellationToken,
    limits: AcceptLimits,
) {
    let accepted = Accepted {
        peer,
        client: peer.ip().to_canonical(),
        secure: false,
        auth_by: Instant::now() + limits.device_auth,
    };
    // Prompts are small and urgent.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let asked = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&asked);
    let service = tower::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        asks.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(accepted.clone());
        router.clone().oneshot(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers)
        .max_headers(limits.header_count)
        .max_buf_size(limits.header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(64);
    let serving = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(serving);
    let first_by = Instant::now() + limits.headers;
    let mut waits_for_first = true;
    let result = loop {
        tokio::select! {
            result = serving.as_mut() => break result,
            () = stopping.cancelled() => {
                serving.as_mut().graceful_shutdown();
                break serving.await;
            }
            () = sleep_until(first_by), if waits_for_first => {
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
                // From here on hyper's own timers hold: headers for HTTP/1, pings for HTTP/2.
                waits_for_first = false;
            }
        }
    };
    if let Err(error) = result {
        tracing::trace!(%peer, error, "a connection ended");
    }
}
