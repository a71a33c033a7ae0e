//! One connection from its accept to its end, or to its upgrade: then the socket has a task of its
//! own. Knows that there is a router, and no route.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::permits::Permit;
use super::refused::Refused;
use super::{Accepted, Door, proxy_protocol};

/// Between two HTTP/2 pings: a peer that is gone is noticed within two of them.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long a peer may take to read its last answers from a relay that stops: less than that waits
/// for what is under way, so that one who does not read holds nobody up.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Whether a connection may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    Open,
    /// Nothing came for long: what is being sent goes on to its end.
    Idle,
    /// The relay stops.
    Stopping,
}

/// What a connection needs of the house.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) door: Door,
    pub(super) router: Router,
    pub(super) stopping: CancellationToken,
}

/// Requests of one connection.
#[derive(Debug, Default)]
struct Requests {
    begun: AtomicUsize,
    running: AtomicUsize,
}

/// A request that is being answered.
struct Answering(Arc<Requests>);

impl Answering {
    fn begin(requests: &Arc<Requests>) -> Self {
        requests.begun.fetch_add(1, Ordering::Relaxed);
        requests.running.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(requests))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Visit {
    pub(super) async fn run(self, stream: TcpStream, peer: SocketAddr, permit: Permit) {
        if let Err(refused) = self.through(stream, peer, permit).await {
            self.door.count(refused);
        }
    }

    async fn through(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        permit: Permit,
    ) -> Result<(), Refused> {
        let limits = &self.door.0.limits;
        let now = Instant::now();
        // Prompts are small and urgent.
        if stream.set_nodelay(true).is_err() {
            return Ok(());
        }
        let headers_by = now + limits.headers;
        let arriving = Box::pin(timeout_at(headers_by, self.arrive(&mut stream, peer, permit)));
        let Some(arrived) = self.stopping.run_until_cancelled(arriving).await else {
            return Ok(());
        };
        let (peer, permit) = arrived.map_err(|_| Refused::ProxyHeader)??;
        let accepted = Accepted {
            peer,
            client: peer.ip().to_canonical(),
            secure: self.door.0.tls.is_some(),
            auth_by: now + limits.device_auth,
            permit: Arc::new(permit),
        };
        let Some(tls) = &self.door.0.tls else {
            return self.serve(stream, accepted, headers_by).await;
        };
        let shaking = Box::pin(timeout_at(now + limits.tls, tls.acceptor().accept(stream)));
        let Some(shaken) = self.stopping.run_until_cancelled(shaking).await else {
            return Ok(());
        };
        let stream = shaken.map_err(|_| Refused::Tls)?.map_err(|error| {
            tracing::trace!(%peer, %error, "no TLS handshake");
            Refused::Tls
        })?;
        let headers_by = (Instant::now() + limits.headers).min(accepted.auth_by);
        Box::pin(self.serve(stream, accepted, headers_by)).await
    }

    /// Who has come, and their place. A proxy that must say so says for whom it comes, and that
    /// one then counts as the other end.
    async fn arrive(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        permit: Permit,
    ) -> Result<(SocketAddr, Permit), Refused> {
        let trust = &self.door.0.trust;
        if !(trust.protocol && trust.is_proxy(peer.ip())) {
            return Ok((peer, permit));
        }
        let named = proxy_protocol::read(stream).await.map_err(|error| {
            tracing::debug!(%peer, %error, "a proxy's connection was refused");
            Refused::ProxyHeader
        })?;
        let Some(client) = named else { return Ok((peer, permit)) };
        let named = SocketAddr::new(client.to_canonical(), 0);
        if trust.is_proxy(named.ip()) {
            return Ok((named, permit));
        }
        self.door.0.rates.address(named.ip())?;
        Ok((named, permit.of(named.ip())?))
    }

    /// Serves HTTP until the end, or until the connection becomes a socket.
    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        accepted: Accepted,
        first_by: Instant,
    ) -> Result<(), Refused> {
        let limits = &self.door.0.limits;
        let peer = accepted.peer;
        let requests = Arc::new(Requests::default());
        let service = {
            let (requests, router, door) =
                (Arc::clone(&requests), self.router.clone(), self.door.clone());
            tower::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
                let answering = Answering::begin(&requests);
                let mut accepted = accepted.clone();
                if let Some(named) = door.0.trust.named(peer.ip(), request.headers()) {
                    (accepted.client, accepted.secure) = (named.client, named.secure);
                }
                request.extensions_mut().insert(accepted);
                let answer = router.clone().oneshot(request);
                async move {
                    let answer = answer.await;
                    drop(answering);
                    answer
                }
            })
        };
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
            .keep_alive_interval(KEEP_ALIVE)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(64);
        let service = TowerToHyperService::new(service);
        let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(serving);
        let mut stay = Stay::Open;
        let mut look_at = first_by;
        let mut seen = 0;
        let result = loop {
            tokio::select! {
                result = serving.as_mut() => break result,
                () = self.stopping.cancelled(), if stay != Stay::Stopping => {
                    if stay == Stay::Open {
                        serving.as_mut().graceful_shutdown();
                    }
                    stay = Stay::Stopping;
                    look_at = Instant::now() + LAST_WORDS;
                }
                () = sleep_until(look_at), if stay != Stay::Idle => {
                    let begun = requests.begun.load(Ordering::Relaxed);
                    let quiet = requests.running.load(Ordering::Relaxed) == 0;
                    if stay == Stay::Stopping {
                        // Everything is answered for a while, and the peer does not take it.
                        if quiet && begun == seen {
                            tracing::debug!(%peer, "hung up on a peer that does not read");
                            return Ok(());
                        }
                        seen = if quiet { begun } else { seen };
                        look_at = Instant::now() + LAST_WORDS;
                        continue;
                    }
                    if begun == 0 {
                        return Err(Refused::Silent);
                    }
                    // HTTP/1 is looked after by hyper's own timer; over HTTP/2 an idle connection
                    // that answers pings would stay for good. What is being answered goes on.
                    if begun == seen && quiet {
                        stay = Stay::Idle;
                        serving.as_mut().graceful_shutdown();
                    }
                    seen = begun;
                    look_at = Instant::now() + limits.idle;
                }
            }
        };
        if let Err(error) = result {
            tracing::trace!(%peer, error, "a connection ended");
        }
        Ok(())
    }
}
