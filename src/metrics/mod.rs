//! What is counted of one node, and its form for Prometheus.
//!
//! ```text
//!   ceremonies: facts ───────▶ ┌─────────┐
//!   store, FIDO2 server ─────▶│ Metrics │── render ──▶ GET /metrics (admin listener)
//!   HTTP, device sockets ────▶└─────────┘      ▲
//!                                              └ what the node holds just now
//! ```
//! Every instrument belongs to a [`Metrics`], and every relay has its own: there is no recorder of
//! the process, so relays that run side by side, as in tests, count for themselves alone.
//! (That is why this is `prometheus-client` and not the `metrics` facade, whose macros find their
//! recorder in a global or in the thread at hand, and tasks change threads. Its instruments also
//! need no upkeep: nothing grows while nobody scrapes.)
//!
//! Labels come from closed sets (enums of ours, route templates, status classes): never a path, a
//! name, an address or an id. Counters whose values are known beforehand start at zero, so that a
//! first failure is seen as a rise.
//!
//! It knows the core's and the ports' words, and nothing of HTTP, sockets, stores or the relay.

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

/// The form of [`Metrics::render`], for `Content-Type` (OpenMetrics 1.0, section 4).
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label names with their values.
pub type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// What a node holds at the moment when it is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeGauges {
    /// Whether it may take traffic.
    pub ready: bool,
    /// Device sockets that have authenticated.
    pub sockets: usize,
    /// Ceremonies without an outcome.
    pub open: usize,
    /// Moments at which time alone may change a ceremony.
    pub deadlines: usize,
    /// Ceremonies that somebody waits for.
    pub watched: usize,
    /// Result tokens signed so far.
    pub result_tokens: u64,
    /// Panics of tasks so far.
    pub panics: u64,
    /// How deliveries of webhooks fare.
    pub webhooks: WebhookGauges,
}

/// The instruments of one relay. Clones are the same.
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
    /// Instruments of a node that starts now, all at zero.
    #[must_use]
    pub fn new(now: UnixMillis) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector::new(now)));
        let ours = registry.sub_registry_with_prefix("fido_relay");
        let version = [("version", Cow::Borrowed(env!("CARGO_PKG_VERSION")))];
        ours.register("build", "Version of this binary", Info::new(version));
        let inner = Instruments {
            ceremonies: Arc::new(CeremonyMetrics::new(ours)),
            edge: EdgeMetrics::new(ours),
            store: store::StoreMetrics::new(ours),
            upstream: upstream::UpstreamMetrics::new(ours),
            ready: gauge(ours, "ready", "Whether this node may take traffic: 1 or 0"),
            sockets: gauge(ours, "device_sockets", "Authenticated device sockets"),
            open: gauge(ours, "ceremonies_open", "Ceremonies without an outcome"),
            deadlines: gauge(ours, "deadlines", "Moments at which time may change a ceremony"),
            watched: gauge(ours, "ceremonies_watched", "Ceremonies that somebody waits for"),
            result_tokens: counter(ours, "result_tokens", "Result tokens that were signed"),
            panics: counter(ours, "task_panics", "Tasks that panicked"),
            webhooks: webhooks::WebhookMetrics::new(ours),
            registry,
        };
        Self(Arc::new(inner))
    }

    /// Counts ceremonies and their events.
    #[must_use]
    pub fn ceremonies(&self) -> Arc<dyn ports::Counts> {
        Arc::clone(&self.0.ceremonies) as Arc<dyn ports::Counts>
    }

    /// The same store, measured.
    #[must_use]
    pub fn store(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(store::MeasuredStore::new(store, self.0.store.clone()))
    }

    /// The same FIDO2 server, measured.
    #[must_use]
    pub fn upstream(&self, fido: Arc<dyn Fido>) -> Arc<dyn Fido> {
        Arc::new(upstream::MeasuredFido::new(fido, self.0.upstream.clone()))
    }

    /// Counts a device socket from now until the value drops.
    #[must_use]
    pub fn socket(&self) -> SocketCount {
        self.0.edge.socket()
    }

    /// An HTTP request was answered. `route` is a template of the route table, never a path.
    pub fn answered(&self, route: &str, status: u16, problem: Option<&str>) {
        self.0.edge.answered(route, status, problem);
    }

    /// What may be turned away at the door, each starting at zero.
    pub fn may_turn_away(&self, what: impl IntoIterator<Item = &'static str>) {
        self.0.edge.may_turn_away(what);
    }

    /// Somebody was turned away at the door, for this reason.
    pub fn turned_away(&self, what: &'static str) {
        self.0.edge.turned_away(what);
    }

    /// Everything, in the form of [`CONTENT_TYPE`].
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
        // A String takes everything.
        let _ = text::encode(&mut rendered, &self.0.registry);
        rendered
    }
}

impl Default for Metrics {
    /// Of a node that started at an unknown time.
    fn default() -> Self {
        Self::new(UnixMillis(0))
    }
}

/// A gauge's number.
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
