//! Metrics of webhook deliveries, which the sender counts.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{counter, gauge, gauge_value};

/// Values of webhook deliveries at the time of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookGauges {
    /// Deliveries that arrived since the start.
    pub delivered: u64,
    /// Attempts that failed since the start.
    pub failed: u64,
    /// Deliveries that were given up since the start.
    pub dead: u64,
    /// Deliveries that wait or are under way.
    pub waiting: u64,
    /// Endpoints with an open circuit, after too many failures in a row.
    pub open_circuits: u64,
    /// Seconds since the longest waiting delivery was due; 0: none is late.
    pub overdue_s: u64,
}

#[derive(Debug)]
pub(super) struct WebhookMetrics {
    delivered: Counter,
    failed: Counter,
    dead: Counter,
    waiting: Gauge,
    open_circuits: Gauge,
    overdue: Gauge,
}

impl WebhookMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let overdue = Gauge::default();
        let help = "Time since the longest-waiting webhook delivery was due";
        registry.register_with_unit("webhooks_overdue", help, Unit::Seconds, overdue.clone());
        let circuits = "Webhook endpoints with an open circuit, after too many failures in a row";
        Self {
            delivered: counter(registry, "webhooks_delivered", "Webhooks that arrived"),
            failed: counter(registry, "webhook_failures", "Failed delivery attempts"),
            dead: counter(registry, "webhooks_dead", "Webhooks that were given up"),
            waiting: gauge(registry, "webhooks_waiting", "Webhooks that have not arrived yet"),
            open_circuits: gauge(registry, "webhook_circuits_open", circuits),
            overdue,
        }
    }

    pub(super) fn set(&self, gauges: WebhookGauges) {
        self.delivered.inner().store(gauges.delivered, Ordering::Relaxed);
        self.failed.inner().store(gauges.failed, Ordering::Relaxed);
        self.dead.inner().store(gauges.dead, Ordering::Relaxed);
        self.waiting.set(gauge_value(gauges.waiting));
        self.open_circuits.set(gauge_value(gauges.open_circuits));
        self.overdue.set(gauge_value(gauges.overdue_s));
    }
}
