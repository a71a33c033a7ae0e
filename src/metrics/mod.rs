//! The metrics of one node, rendered for Prometheus.
//!
//! ```text
//!   ceremonies: facts ───────▶ ┌─────────┐
//!   store, FIDO2 server ─────▶│ Metrics │── render ──▶ GET /metrics (admin listener)
//!   HTTP, device sockets ────▶└─────────┘      ▲
//!                                              └ gauges of this moment
//! ```
//! Every instrument belongs to a [`Metrics`], and every relay has its own, so that relays in one
//! process, as in tests, count apart. (Hence `prometheus-client` and not the `metrics` facade,
//! whose macros find their recorder in a global or in the current thread, and tasks change threads.
//! Its instruments also need no upkeep: nothing grows without a scrape.) Labels have closed sets of
//! values (enums, route templates, status classes): never a path, a name, an address or an id.
//! Counters with known labels start at zero, so that a first failure shows as a rise. It uses types
//! of the core and the ports, and nothing of HTTP, sockets, stores or the relay.

mod ceremonies;
mod edge;
mod process;
mod store;
mod upstream;
mod webhooks;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fido_relay_proto::UnixMillis;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub use self::ceremonies::{Count, counts};
pub use self::edge::SocketCount;
pub use self::webhooks::WebhookGauges;

use self::ceremonies::CeremonyMetrics;
use self::edge::EdgeMetrics;
use self::process::ProcessCollector;
use crate::ports::{self, Fido, Store};

/// The `Content-Type` of [`Metrics::render`] (OpenMetrics 1.0, section 4).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Labels: names and values.
pub type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Values of a node at the time of a scrape.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeGauges {
    /// Whether `/readyz` is 200.
    pub ready: bool,
    /// Device sockets that have authenticated.
    pub sockets: usize,
    pub open: usize,
    /// Scheduled deadlines of ceremonies.
    pub deadlines: usize,
    /// Ceremonies with a watcher.
    pub watched: usize,
    /// Result tokens signed so far.
    pub result_tokens: u64,
    /// Panics of tasks so far.
    pub panics: u64,
    pub webhooks: WebhookGauges,
}

/// The instruments of one relay. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Instruments>);

#[derive(Debug)]
struct Instruments {
    registry: Registry,
    ceremonies: Arc<CeremonyMetrics>,
    edge: EdgeMetrics,
    store: store::StoreMetrics,
    upstream: upstream::UpstreamMetrics,
    ready: Gauge,
    sockets: Gauge,
    open: Gauge,
    deadlines: Gauge,
    watched: Gauge,
    result_tokens: Counter,
    panics: Counter,
    webhooks: webhooks::WebhookMetrics,
}

impl Metrics {
    /// Instruments at zero, for a node that starts now.
    #[must_use]
    pub fn new(now: UnixMillis) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector::new(now)));
        let relay = registry.sub_registry_with_prefix("fido_relay");
        let version = [("version", Cow::Borrowed(env!("CARGO_PKG_VERSION")))];
        relay.register("build", "Version of this binary", Info::new(version));
        let inner = Instruments {
            ceremonies: Arc::new(CeremonyMetrics::new(relay)),
            edge: EdgeMetrics::new(relay),
            store: store::StoreMetrics::new(relay),
            upstream: upstream::UpstreamMetrics::new(relay),
            ready: gauge(relay, "ready", "Whether this node may take traffic: 1 or 0"),
            sockets: gauge(relay, "device_sockets", "Authenticated device sockets"),
            open: gauge(relay, "ceremonies_open", "Ceremonies without an outcome"),
            deadlines: gauge(relay, "deadlines", "Scheduled deadlines of ceremonies"),
            watched: gauge(relay, "ceremonies_watched", "Ceremonies with a watcher"),
            result_tokens: counter(relay, "result_tokens", "Result tokens that were signed"),
            panics: counter(relay, "task_panics", "Tasks that panicked"),
            webhooks: webhooks::WebhookMetrics::new(relay),
            registry,
        };
        Self(Arc::new(inner))
    }

    /// The counters of ceremonies and their events.
    #[must_use]
    pub fn ceremonies(&self) -> Arc<dyn ports::Counts> {
        Arc::clone(&self.0.ceremonies) as Arc<dyn ports::Counts>
    }

    /// Wraps a store to measure it.
    #[must_use]
    pub fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(store::MeasuredStore::new(store, self.0.store.clone()))
    }

    /// Wraps a FIDO2 server to measure it.
    #[must_use]
    pub fn upstream(&self, fido: Arc<dyn Fido>) -> Arc<dyn Fido> {
        Arc::new(upstream::MeasuredFido::new(fido, self.0.upstream.clone()))
    }

    /// Counts a device socket from now until the value drops.
    #[must_use]
    pub fn socket(&self) -> SocketCount {
        self.0.edge.socket()
    }

    /// Counts an HTTP answer. `route` is a template of the route table, never a path.
    pub fn answered(&self, route: &str, status: u16, problem: Option<&str>) {
        self.0.edge.answered(route, status, problem);
    }

    /// Starts the counters of refused connections at zero, one for each reason.
    pub fn may_turn_away(&self, what: impl IntoIterator<Item = &'static str>) {
        self.0.edge.may_turn_away(what);
    }

    /// Counts a refused connection or request by its reason.
    pub fn turned_away(&self, what: &'static str) {
        self.0.edge.turned_away(what);
    }

    /// Every metric as [`CONTENT_TYPE`].
    #[must_use]
    pub fn render(&self, gauges: NodeGauges) -> String {
        self.0.ready.set(i64::from(gauges.ready));
        self.0.sockets.set(gauge_value(gauges.sockets));
        self.0.open.set(gauge_value(gauges.open));
        self.0.deadlines.set(gauge_value(gauges.deadlines));
        self.0.watched.set(gauge_value(gauges.watched));
        self.0.result_tokens.inner().store(gauges.result_tokens, Ordering::Relaxed);
        self.0.panics.inner().store(gauges.panics, Ordering::Relaxed);
        self.0.webhooks.set(gauges.webhooks);
        let mut rendered = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut rendered, &self.0.registry);
        rendered
    }
}

impl Default for Metrics {
    /// Instruments of a node with an unknown start.
    fn default() -> Self {
        Self::new(UnixMillis(0))
    }
}

fn gauge_value<N: TryInto<i64>>(count: N) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

fn gauge(registry: &mut Registry, name: &'static str, help: &'static str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn counter(registry: &mut Registry, name: &'static str, help: &'static str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn counters<const N: usize>(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
) -> Counters<N> {
    let family = Counters::default();
    registry.register(name, help, family.clone());
    family
}

fn seconds<const N: usize>(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
    buckets: fn() -> Histogram,
) -> Histograms<N> {
    let family = Histograms::new_with_constructor(buckets);
    registry.register_with_unit(name, help, Unit::Seconds, family.clone());
    family
}
