//! One connection from its accept to its end, or to its upgrade: then a task of the socket takes
//! over. Knows that there is a router, and no route.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};
use tower::ServiceExt as _;

use super::handle::ConnectionHandle;
use super::http_clock::{ConnectionActivity, HttpClock, HttpDeadline};
use super::listener_refusal::ListenerRefusal;
use super::peer::PeerStream;
use super::requests::{AnswerGuard, PIECE, RequestCounters, StreamExecutor};
use super::{Accepted, Listener, proxy_protocol};
use crate::tasks::Tasks;

/// Between two HTTP/2 pings: a peer that is gone is noticed within two of them.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long a peer may take to read its last answers from a relay that stops, or to leave an idle
/// connection that was closed in order.
const SHUTDOWN_FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// Whether a connection may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionState {
    Open,
    /// Shut down in order, because no request came for long.
    Idle,
    /// The relay stops.
    Stopping,
}

/// What the loop of a connection handles next.
enum NextEvent<E> {
    Over(Result<(), E>),
    HttpDeadline(HttpDeadline),
    Stop,
}

#[derive(Debug)]
pub(super) struct ConnectionTask {
    pub(super) listener: Listener,
    pub(super) router: Router,
    pub(super) tasks: Tasks,
}

impl ConnectionTask {
    pub(super) async fn run(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        handle: Arc<ConnectionHandle>,
    ) {
        if let Err(refused) = self.through(stream, peer, handle).await {
            self.listener.count(refused);
        }
    }

    async fn through(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        handle: Arc<ConnectionHandle>,
    ) -> Result<(), ListenerRefusal> {
        let limits = &self.listener.0.limits;
        let now = Instant::now();
        let Ok(mut stream) = PeerStream::new(stream, Arc::clone(&handle)) else { return Ok(()) };
        let headers_by = now + limits.headers;
        let arriving = self.read_peer(stream.tcp(), peer, &handle);
        let arriving = Box::pin(timeout_at(headers_by, arriving));
        let stopping = self.tasks.stopping();
        let Some(arrived) = stopping.run_until_cancelled(arriving).await else {
            return Ok(());
        };
        let peer = arrived.map_err(|_| ListenerRefusal::ProxyHeader)??;
        let accepted = Accepted {
            peer,
            client: peer.ip().to_canonical(),
            secure: self.listener.0.tls.is_some(),
            auth_by: now + limits.device_auth,
            handle,
        };
        let Some(tls) = &self.listener.0.tls else {
            return self.serve(stream, accepted, headers_by).await;
        };
        let shaking = Box::pin(timeout_at(now + limits.tls, tls.acceptor().accept(stream)));
        let Some(shaken) = stopping.run_until_cancelled(shaking).await else {
            return Ok(());
        };
        let stream = shaken.map_err(|_| ListenerRefusal::Tls)?;
        if accepted.handle.hang_up().is_hung_up() {
            return Ok(());
        }
        let stream = stream.map_err(|error| {
            tracing::trace!(%peer, %error, "TLS handshake failed");
            ListenerRefusal::Tls
        })?;
        let headers_by = (Instant::now() + limits.headers).min(accepted.auth_by);
        Box::pin(self.serve(stream, accepted, headers_by)).await
    }

    /// The address of the other end, read from the PROXY protocol header where the peer is a proxy
    /// that sends one.
    async fn read_peer(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        handle: &Arc<ConnectionHandle>,
    ) -> Result<SocketAddr, ListenerRefusal> {
        let trust = &self.listener.0.trust;
        if !(trust.protocol && trust.is_proxy(peer.ip())) {
            return Ok(peer);
        }
        let named = proxy_protocol::read(stream).await.map_err(|error| {
            tracing::debug!(%peer, %error, "a proxy's connection was refused");
            ListenerRefusal::ProxyHeader
        })?;
        let Some(client) = named else { return Ok(peer) };
        let named = SocketAddr::new(client.to_canonical(), 0);
        if !trust.is_proxy(named.ip()) {
            self.listener.0.rates.address(named.ip())?;
            handle.count_for(named.ip())?;
        }
        Ok(named)
    }

    /// Serves HTTP until the end, or until the connection becomes a socket.
    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        accepted: Accepted,
        first_by: Instant,
    ) -> Result<(), ListenerRefusal> {
        let limits = &self.listener.0.limits;
        let (peer, handle) = (accepted.peer, Arc::clone(&accepted.handle));
        let requests = Arc::new(RequestCounters::default());
        let service = {
            let (requests, router, listener) =
                (Arc::clone(&requests), self.router.clone(), self.listener.clone());
            tower::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
                let http2 = request.version() == hyper::Version::HTTP_2;
                let answering = AnswerGuard::begin(&requests, http2);
                let mut accepted = accepted.clone();
                if requests.begun() > 1 {
                    // A connection may be kept for longer than a device has to authenticate.
                    accepted.auth_by = Instant::now() + listener.0.limits.device_auth;
                }
                if let Some(named) = listener.0.trust.named(peer.ip(), request.headers()) {
                    (accepted.client, accepted.secure) = (named.client, named.secure);
                }
                request.extensions_mut().insert(accepted);
                let answer = router.clone().oneshot(request);
                async move { answer.await.map(|answer| answer.map(|body| answering.sends(body))) }
            })
        };
        let streams = StreamExecutor { tasks: self.tasks.clone(), connection: Arc::clone(&handle) };
        let mut builder = auto::Builder::new(streams);
        builder
            .http1()
            .timer(TokioTimer::new())
            // It would run from the last answer: see `HttpClock`.
            .header_read_timeout(None)
            .max_headers(limits.header_count)
            .max_buf_size(limits.header_bytes);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_send_buf_size(PIECE)
            .max_concurrent_streams(64);
        let service = TowerToHyperService::new(service);
        let mut serving =
            pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let mut timer = pin!(sleep_until(first_by));
        let mut clock = HttpClock::new(first_by, limits.headers, limits.idle);
        let mut state = ConnectionState::Open;
        let mut leave_by = first_by;
        let mut seen = 0;
        let stopping = self.tasks.stopping();
        loop {
            let event = poll_fn(|cx| {
                if let Poll::Ready(result) = serving.as_mut().poll(cx) {
                    return Poll::Ready(NextEvent::Over(result));
                }
                loop {
                    let due = match state {
                        ConnectionState::Open => {
                            clock.check(Instant::now(), activity(&requests, &handle))
                        }
                        ConnectionState::Idle | ConnectionState::Stopping => {
                            HttpDeadline::At(leave_by)
                        }
                    };
                    let HttpDeadline::At(at) = due else {
                        return Poll::Ready(NextEvent::HttpDeadline(due));
                    };
                    if timer.deadline() != at {
                        timer.as_mut().reset(at);
                    }
                    if timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    if state != ConnectionState::Open {
                        return Poll::Ready(NextEvent::HttpDeadline(due));
                    }
                }
            });
            let event = tokio::select! {
                biased;
                event = event => event,
                () = stopping.cancelled(), if state != ConnectionState::Stopping => NextEvent::Stop,
            };
            match event {
                NextEvent::Over(result) => {
                    if let Err(error) = result {
                        tracing::trace!(%peer, error, "a connection ended");
                    }
                    return Ok(());
                }
                NextEvent::HttpDeadline(HttpDeadline::Late(refused)) => return Err(refused),
                NextEvent::HttpDeadline(HttpDeadline::Idle) | NextEvent::Stop => {
                    if state == ConnectionState::Open {
                        serving.as_mut().graceful_shutdown();
                    }
                    state = if matches!(event, NextEvent::Stop) {
                        ConnectionState::Stopping
                    } else {
                        ConnectionState::Idle
                    };
                    leave_by = Instant::now() + SHUTDOWN_FLUSH_LIMIT;
                }
                NextEvent::HttpDeadline(HttpDeadline::At(_)) => {
                    // A relay that stops waits for answers that are being made, but not for the
                    // peer to read them.
                    let (begun, now) = (requests.begun(), activity(&requests, &handle));
                    let quiet = if state == ConnectionState::Stopping {
                        !requests.are_running()
                    } else {
                        !now.is_busy
                    };
                    if quiet && (begun == seen || state == ConnectionState::Idle) {
                        let stopping = state == ConnectionState::Stopping;
                        tracing::debug!(
                            %peer, stopping,
                            "a connection was aborted: the peer did not close it"
                        );
                        return Ok(());
                    }
                    seen = if quiet { begun } else { seen };
                    leave_by = Instant::now() + SHUTDOWN_FLUSH_LIMIT;
                }
            }
        }
    }
}

fn activity(requests: &RequestCounters, handle: &ConnectionHandle) -> ConnectionActivity {
    ConnectionActivity {
        begun: requests.begun(),
        is_busy: requests.are_running() || requests.are_sending() || handle.is_blocked(),
        heard: handle.has_heard(),
        is_http2: requests.is_http2(),
    }
}
