//! Counters of HTTP answers and device sockets.

use std::borrow::Cow;

use prometheus_client::registry::Registry;

use super::{Counters, Labels, counters};
use crate::core::session::CloseReason;

#[derive(Debug)]
pub(super) struct EdgeMetrics {
    responses: Counters<2>,
    refusals: Counters<2>,
    refused: Counters<1>,
    opened: prometheus_client::metrics::counter::Counter,
    closed: Counters<1>,
}

impl EdgeMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let new = Self {
            responses: counters(registry, "http_responses", "HTTP answers by status class"),
            refusals: counters(registry, "http_refusals", "HTTP answers that refuse, by code"),
            refused: counters(
                registry,
                "refused",
                "Connections and requests that the listener refused, by reason",
            ),
            opened: super::counter(
                registry,
                "device_sockets_opened",
                "Device sockets accepted, before they authenticate",
            ),
            closed: counters(registry, "device_sockets_closed", "Device sockets by their end"),
        };
        for reason in CloseReason::ALL {
            let _ = new.closed.get_or_create_owned(&of(reason));
        }
        new
    }

    pub(super) fn answered(&self, route: &str, status: u16, problem: Option<&str>) {
        let class = match status {
            100..200 => "1xx",
            200..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        let route: Cow<'static, str> = Cow::Owned(route.to_owned());
        if let Some(problem) = problem {
            let labels = [("route", route.clone()), ("code", problem.to_owned().into())];
            self.refusals.get_or_create(&labels).inc();
        }
        self.responses.get_or_create(&[("route", route), ("status", class.into())]).inc();
    }

    pub(super) fn may_turn_away(&self, what: impl IntoIterator<Item = &'static str>) {
        for what in what {
            let _ = self.refused.get_or_create_owned(&[("what", what.into())]);
        }
    }

    pub(super) fn turned_away(&self, what: &'static str) {
        self.refused.get_or_create(&[("what", what.into())]).inc();
    }

    pub(super) fn socket(&self) -> SocketCount {
        self.opened.inc();
        SocketCount { closed: self.closed.clone(), reason: CloseReason::ConnectionLost }
    }
}

fn of(reason: CloseReason) -> Labels<1> {
    [("reason", reason.name().into())]
}

/// A device socket that is counted as open. Dropping it counts the end by its reason, so that every
/// end is counted.
#[derive(Debug)]
pub struct SocketCount {
    closed: Counters<1>,
    reason: CloseReason,
}

impl SocketCount {
    /// Sets the reason of the end. Without one it counts as a lost connection.
    pub fn ends(&mut self, reason: CloseReason) {
        self.reason = reason;
    }
}

impl Drop for SocketCount {
    fn drop(&mut self) {
        self.closed.get_or_create(&of(self.reason)).inc();
    }
}
