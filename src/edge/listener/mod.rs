//! The accept loop: one deadline from the TCP accept to the first request, so that neither silence
//! nor dribbling holds a place for long, then one for each pause of a peer. `axum::serve` has none,
//! and hyper's own header timer runs from the last answer and for HTTP/1 alone.
//!
//! ```text
//!   accept ─▶ rate, place ─▶ PROXY header ─▶ TLS ─▶ first request ─▶ next request  (http_clock)
//!               │ no           └──────┴─────────────┴── too late, or no sense: gone
//!               └─▶ closed at once, before any work for it        peer takes its answer (peer)
//! ```

mod connection;
mod http_clock;
mod peer;
mod permits;
mod pressure;
mod proxy;
mod proxy_protocol;
mod rates;
mod refused;
mod requests;
mod strangers;
pub(super) mod tally;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::time::Instant;

pub use self::pressure::Pressure;
pub use self::proxy::{ForwardedBy, Trust};
pub use self::refused::Refused;
pub use self::tls::{Pair, PairError, PairFiles};

use self::permits::Permits;
#[cfg(test)]
pub(super) use self::permits::tests::permit;
pub(super) use self::permits::{Permit, evict};
use self::rates::Rates;
pub(super) use self::strangers::Strangers;
use self::tls::Tls;
use crate::metrics::Metrics;
use crate::ports::Clock;
use crate::tasks::Tasks;

/// Connections waiting to be accepted. A thousand phones that reconnect at once must not meet a
/// retransmission timer: 8,000 at once took 0.34 s with this, 5.5 s with 128.
const BACKLOG: u32 = 4096;
/// How often the door looks at itself: at its memory, and at addresses to forget.
const LOOK: Duration = Duration::from_secs(1);

/// What a connection may cost before it is known.
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
    pub breather: Duration,
    /// A connection without a request for this long ends, once its last one was answered.
    pub idle: Duration,
    /// A peer that has not authenticated takes some of its answer within this.
    pub unread: Duration,
    /// The same for a peer that has, and for a trusted proxy.
    pub unread_known: Duration,
    /// A peer that has not authenticated takes all of one answer within this.
    pub answer: Duration,
    /// Connections of one address over which nobody has authenticated.
    pub connections_per_ip: usize,
    /// A younger connection of a stranger is not ended for one of a network that is as crowded.
    pub eviction_age: Duration,
    /// Connections of the node.
    pub connections_per_node: usize,
    /// New connections a second of one address.
    pub handshakes_per_s_per_ip: u32,
    /// New connections a second of the node.
    pub handshakes_per_s_per_node: u32,
    /// Bytes of resident memory above which nothing new is begun.
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
            breather: Duration::from_millis(50),
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

/// What the door is told at the start.
#[derive(Clone, Debug, Default)]
pub struct ListenerSettings {
    /// What a connection may cost.
    pub limits: AcceptLimits,
    /// The certificate, if TLS is spoken here, and how often it is looked at again.
    pub tls: Option<(PairFiles, Duration)>,
    /// Proxies in front.
    pub trust: Trust,
    /// Device sockets without TLS are taken from other machines.
    pub plaintext: bool,
    /// What counts whoever is turned away.
    pub metrics: Metrics,
}

/// The listener's side of everything: who may come in, and how. Clones are the same.
#[derive(Clone, Debug)]
pub struct Listener(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: AcceptLimits,
    tls: Option<Arc<Tls>>,
    trust: Trust,
    plaintext: bool,
    permits: Arc<Permits>,
    rates: Rates,
    pressure: Pressure,
    metrics: Metrics,
}

impl Listener {
    /// A door that nobody has come through, and its tasks.
    ///
    /// # Errors
    /// [`PairError`]; then nothing runs.
    pub fn start(
        settings: ListenerSettings,
        clock: &Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Result<Self, PairError> {
        let ListenerSettings { limits, tls, trust, plaintext, metrics } = settings;
        metrics.may_turn_away(Refused::ALL.map(Refused::name));
        let tls = match tls {
            Some((files, every)) => {
                let tls = Arc::new(Tls::load(files, clock.now())?);
                let watching = Arc::clone(&tls).watch(every, Arc::clone(clock), tasks.clone());
                tasks.spawn("tls", watching);
                Some(tls)
            }
            None => None,
        };
        let permits = Arc::new(Permits::new(limits, metrics.clone()));
        let pressure = Pressure::new(Arc::clone(&permits), limits.memory);
        let rates = Rates::new(limits.handshakes_per_s_per_ip, limits.handshakes_per_s_per_node);
        let inner = Inner { limits, tls, trust, plaintext, permits, rates, pressure, metrics };
        let door = Self(Arc::new(inner));
        tasks.spawn("door", door.clone().look(tasks.clone()));
        Ok(door)
    }

    /// Somebody was turned away before there was a request to answer.
    fn count(&self, refused: Refused) {
        self.0.metrics.turned_away(refused.name());
    }

    /// Whether TLS ends here.
    pub(super) fn speaks_tls(&self) -> bool {
        self.0.tls.is_some()
    }

    /// What a connection may cost.
    pub(super) fn limits(&self) -> &AcceptLimits {
        &self.0.limits
    }

    /// Whether there is room for something new.
    #[must_use]
    pub fn pressure(&self) -> &Pressure {
        &self.0.pressure
    }

    /// Whether a device socket may be opened by this request.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn device_socket(&self, accepted: &Accepted) -> Result<(), Refused> {
        let open = accepted.secure || self.0.plaintext || accepted.client.is_loopback();
        if !open {
            return Err(Refused::Plaintext);
        }
        if let Some(refused) = self.0.pressure.refuses() {
            return Err(refused);
        }
        // Who connects by itself was counted when it did.
        if accepted.client == accepted.peer.ip().to_canonical() {
            return Ok(());
        }
        self.0.rates.socket(accepted.client)
    }

    async fn look(self, tasks: Tasks) {
        let stopping = tasks.stopping().clone();
        while stopping.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            self.0.rates.forget();
            self.0.pressure.look();
        }
    }

    /// A place for a connection from there, before anything was read from it.
    fn admit(&self, peer: IpAddr) -> Result<Arc<Permit>, Refused> {
        let Inner { trust, rates, permits, .. } = &*self.0;
        let is_proxy = trust.is_proxy(peer);
        if is_proxy {
            rates.any_connection()?;
        } else {
            rates.connection(peer)?;
        }
        permits.enter(peer, !is_proxy)
    }
}

/// What is known of whoever asks; an extension of each request.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The other end of the TCP connection: a proxy, where there is one that speaks HTTP.
    pub peer: SocketAddr,
    /// Who asks: the peer, or whom a trusted proxy names. Limits and rules by address are about
    /// this one.
    pub client: IpAddr,
    /// Whether nobody in between can read along, as far as is known here: TLS ends here, or a
    /// trusted proxy says that the client came by https.
    pub secure: bool,
    /// When a device on this connection must have authenticated.
    pub auth_by: Instant,
    permit: Arc<Permit>,
}

impl Accepted {
    /// The connection's place, which a socket keeps for as long as it lives.
    pub(super) fn permit(&self) -> &Arc<Permit> {
        &self.permit
    }
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
pub async fn serve(listener: TcpListener, router: Router, tasks: Tasks, door: Listener) {
    let stopping = tasks.stopping().clone();
    while let Some(accepted) = stopping.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => match door.admit(peer.ip()) {
                Ok(permit) => {
                    let visit = connection::ConnectionTask {
                        door: door.clone(),
                        router: router.clone(),
                        tasks: tasks.clone(),
                    };
                    tasks.spawn_untraced(visit.run(stream, peer, permit));
                }
                Err(refused) => door.count(refused),
            },
            // One connection's fault (ECONNABORTED) or the node's (EMFILE): either way the loop
            // must live, and must not spin.
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(door.0.limits.breather).await;
            }
        }
    }
}
