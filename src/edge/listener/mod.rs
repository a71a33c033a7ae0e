//! The accept loop: one deadline from the TCP accept to the first request, so that neither a silent
//! nor a slow peer holds a slot for long, then one for each pause of a peer. `axum::serve` has
//! none, and hyper's own header timer runs from the last answer and for HTTP/1 alone.
//!
//! ```text
//!   accept ─▶ rate, slot ──▶ PROXY header ─▶ TLS ─▶ first request ─▶ next request  (http_clock)
//!               │ no           └──────┴─────────────┴── late or malformed: closed
//!               └─▶ closed at once, before any work for it        peer takes its answer (peer)
//! ```

mod connection;
mod evicting_limit;
mod handle;
mod hang_up;
mod http_clock;
mod listener_refusal;
mod peer;
mod pressure;
mod proxy;
mod proxy_protocol;
mod rates;
mod requests;
mod tls;
mod unauthenticated_peers;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::time::Instant;

pub use self::listener_refusal::ListenerRefusal;
pub use self::pressure::Pressure;
pub use self::proxy::{ForwardedBy, ProxyTrust};
pub use self::tls::{Certificate, CertificateError, CertificateFiles};

pub(super) use self::evicting_limit::{EvictableSlot, EvictingLimit};
pub(super) use self::handle::ConnectionHandle;
use self::handle::Connections;
use self::rates::HandshakeRates;
use self::tls::Tls;
use crate::metrics::Metrics;
use crate::ports::Clock;
use crate::tasks::Tasks;

/// Connections waiting to be accepted. A thousand phones that reconnect at once must not meet a
/// retransmission timer: 8,000 at once took 0.34 s with this, 5.5 s with 128.
const BACKLOG: u32 = 4096;
/// Between two checks of the memory and of addresses to forget.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// What a connection may cost before its peer has authenticated.
#[derive(Clone, Copy, Debug)]
pub struct AcceptLimits {
    /// From the accept until the TLS handshake is done.
    pub tls: Duration,
    /// Until a request's headers are there: of the first from the accept or the end of the TLS
    /// handshake, of any other from its first byte.
    pub headers: Duration,
    /// From the accept until a device has authenticated.
    pub device_auth: Duration,
    /// Bytes of one request's headers, at least 8 KiB.
    pub header_bytes: usize,
    /// Headers of one request.
    pub header_count: usize,
    /// Pause after an accept that failed for lack of file descriptors.
    pub accept_backoff: Duration,
    /// A connection without a request for this long ends, once its last one was answered.
    pub idle: Duration,
    /// A peer that has not authenticated takes some of its answer within this.
    pub unread: Duration,
    /// The same for an authenticated peer, and for a trusted proxy.
    pub unread_known: Duration,
    /// A peer that has not authenticated takes all of one answer within this.
    pub answer: Duration,
    /// Unauthenticated connections of one address.
    pub connections_per_ip: usize,
    /// A younger unauthenticated connection is not evicted for one of a network that is as crowded.
    pub eviction_age: Duration,
    /// Connections of the node.
    pub connections_per_node: usize,
    /// New connections a second of one address.
    pub handshakes_per_s_per_ip: u32,
    /// New connections a second of the node.
    pub handshakes_per_s_per_node: u32,
    /// Bytes of resident memory above which requests that begin something are refused.
    pub memory: Option<u64>,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self {
            tls: Duration::from_secs(5),
            headers: Duration::from_secs(5),
            device_auth: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            header_count: 64,
            accept_backoff: Duration::from_millis(50),
            idle: Duration::from_secs(75),
            unread: Duration::from_secs(10),
            unread_known: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            connections_per_ip: 200,
            eviction_age: Duration::from_secs(2),
            connections_per_node: 50_000,
            handshakes_per_s_per_ip: 20,
            handshakes_per_s_per_node: 1_000,
            memory: None,
        }
    }
}

/// What the configuration says of a listener.
#[derive(Clone, Debug, Default)]
pub struct ListenerSettings {
    pub limits: AcceptLimits,
    /// The certificate, if TLS ends here, and how often its files are checked for changes.
    pub tls: Option<(CertificateFiles, Duration)>,
    /// Proxies in front.
    pub trust: ProxyTrust,
    /// Whether device sockets without TLS are accepted from other machines.
    pub plaintext: bool,
    /// Counts refused and ended connections.
    pub metrics: Metrics,
}

/// Which connections are accepted, and how they are served. Clones share one state.
#[derive(Clone, Debug)]
pub struct Listener(Arc<ListenerInner>);

#[derive(Debug)]
struct ListenerInner {
    limits: AcceptLimits,
    tls: Option<Arc<Tls>>,
    trust: ProxyTrust,
    plaintext: bool,
    connections: Arc<Connections>,
    rates: HandshakeRates,
    pressure: Pressure,
    metrics: Metrics,
}

impl Listener {
    /// Loads the certificate and starts the tasks of the listener; [`serve`] accepts connections.
    ///
    /// # Errors
    /// [`CertificateError`]; then nothing runs.
    pub fn start(
        settings: ListenerSettings,
        clock: &Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Self, CertificateError> {
        let ListenerSettings { limits, tls, trust, plaintext, metrics } = settings;
        metrics.may_turn_away(ListenerRefusal::ALL.map(ListenerRefusal::name));
        let tls = match tls {
            Some((files, every)) => {
                let tls = Arc::new(Tls::load(files, clock.now())?);
                let watching = Arc::clone(&tls).watch(every, Arc::clone(clock), tasks.clone());
                tasks.spawn("tls", watching);
                Some(tls)
            }
            None => None,
        };
        let connections = Arc::new(Connections::new(limits, metrics.clone()));
        let pressure = Pressure::new(Arc::clone(&connections), limits.memory);
        let rates =
            HandshakeRates::new(limits.handshakes_per_s_per_ip, limits.handshakes_per_s_per_node);
        let inner =
            ListenerInner { limits, tls, trust, plaintext, connections, rates, pressure, metrics };
        let listener = Self(Arc::new(inner));
        tasks.spawn("listener", listener.clone().check_forever(tasks.clone()));
        Ok(listener)
    }

    /// Counts a connection that was refused or ended before there was a request to answer.
    fn count(&self, refused: ListenerRefusal) {
        self.0.metrics.turned_away(refused.name());
    }

    /// Whether TLS ends here.
    pub(super) fn speaks_tls(&self) -> bool {
        self.0.tls.is_some()
    }

    pub(super) fn limits(&self) -> &AcceptLimits {
        &self.0.limits
    }

    /// Whether requests that begin something are accepted now.
    #[must_use]
    pub fn pressure(&self) -> &Pressure {
        &self.0.pressure
    }

    /// Whether a device socket may be opened by this request.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub(super) fn device_socket(&self, accepted: &Accepted) -> Result<(), ListenerRefusal> {
        let open = accepted.secure || self.0.plaintext || accepted.client.is_loopback();
        if !open {
            return Err(ListenerRefusal::Plaintext);
        }
        if let Some(refused) = self.0.pressure.refuses() {
            return Err(refused);
        }
        // A client that connects without a proxy was counted at its accept.
        if accepted.client == accepted.peer.ip().to_canonical() {
            return Ok(());
        }
        self.0.rates.socket(accepted.client)
    }

    async fn check_forever(self, tasks: Tasks) {
        let stopping = tasks.stopping().clone();
        while stopping.run_until_cancelled(tokio::time::sleep(CHECK_EVERY)).await.is_some() {
            self.0.rates.forget();
            self.0.pressure.check();
        }
    }

    /// Accepts or refuses a connection from this peer before anything is read from it.
    fn admit(&self, peer: IpAddr) -> Result<Arc<ConnectionHandle>, ListenerRefusal> {
        let ListenerInner { trust, rates, connections, .. } = &*self.0;
        let is_proxy = trust.is_proxy(peer);
        if is_proxy {
            rates.any_connection()?;
        } else {
            rates.connection(peer)?;
        }
        connections.enter(peer, is_proxy)
    }
}

/// What the listener knows of the sender of a request; an extension of each request.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The other end of the TCP connection: a proxy, where there is one that speaks HTTP.
    pub peer: SocketAddr,
    /// The address of the client: the peer, or the one that a trusted proxy names. Limits and rules
    /// by address are about this one.
    pub client: IpAddr,
    /// Whether the connection is encrypted as far as the relay knows: TLS ends here, or a trusted
    /// proxy says that the client uses https.
    pub secure: bool,
    /// When a device on this connection must have authenticated.
    pub auth_by: Instant,
    handle: Arc<ConnectionHandle>,
}

impl Accepted {
    /// The connection, whose slot a socket keeps until it ends.
    pub(super) fn handle(&self) -> &Arc<ConnectionHandle> {
        &self.handle
    }
}

/// Binds with a backlog that fits a reconnection storm.
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

/// Accepts and serves connections until the tasks are asked to stop; open requests then still end.
pub async fn serve(socket: TcpListener, router: Router, tasks: Tasks, listener: Listener) {
    let stopping = tasks.stopping().clone();
    while let Some(accepted) = stopping.run_until_cancelled(socket.accept()).await {
        match accepted {
            Ok((stream, peer)) => match listener.admit(peer.ip()) {
                Ok(handle) => {
                    let task = connection::ConnectionTask {
                        listener: listener.clone(),
                        router: router.clone(),
                        tasks: tasks.clone(),
                    };
                    tasks.spawn_untraced(task.run(stream, peer, handle));
                }
                Err(refused) => listener.count(refused),
            },
            // Caused by one connection (ECONNABORTED) or by the node (EMFILE): in both cases the
            // loop must go on, and must not spin.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(listener.0.limits.accept_backoff).await;
            }
        }
    }
}
