//! How deliveries of webhooks fare. Whoever sends them counts; here is the form for Prometheus.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{counter, gauge, gauge_value};

/// How deliveries fare at the moment when it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookGauges {
    /// Deliveries that arrived since the start.
    pub delivered: u64,
    /// Tries that failed since the start.
    pub failed: u64,
    /// Deliveries that were given up since the start.
    pub dead: u64,
    /// Deliveries that wait or are on their way.
    pub waiting: u64,
    /// Endpoints that nothing is sent to because they failed too often in a row.
    pub open_circuits: u64,
    /// How long ago the delivery that waits longest was due, in seconds; 0: none is late.
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
        let help = "How long ago the webhook that waits longest was due";
        registry.register_with_unit("webhooks_overdue", help, Unit::Seconds, overdue.clone());
        let circuits = "Webhook endpoints that failed too often in a row and are left alone";
        Self {
            delivered: counter(registry, "webhooks_delivered", "Webhooks that arrived"),
            failed: counter(registry, "webhook_failures", "Tries to deliver that failed"),
            dead: counter(registry, "webhooks_dead", "Webhooks that were given up"),
            waiting: gauge(registry, "webhooks_waiting", "Webhooks that have not arrived yet"),
            open_circuits: gauge(registry, "webhook_circuits_open", circuits),
            overdue,
        }
    }

    pub(super) fn set(&self, standing: WebhookGauges) {
        self.delivered.inner().store(standing.delivered, Ordering::Relaxed);
        self.failed.inner().store(standing.failed, Ordering::Relaxed);
        self.dead.inner().store(standing.dead, Ordering::Relaxed);
        self.waiting.set(gauge_value(standing.waiting));
        self.open_circuits.set(gauge_value(standing.open_circuits));
        self.overdue.set(gauge_value(standing.overdue_s));
    }
}
