//! Wraps a FIDO2 server and measures the time of each call by its result.

use std::borrow::Cow;
use std::sync::Arc;

use fido_relay_proto::{CeremonyType, Username};
use futures::future::BoxFuture;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Histograms, seconds};
use crate::core::ceremony::{Begun, UpstreamSession, Verdict};
use crate::ports::{BeginFault, BeginRequest, Completion, Fido};

/// Usual results of begin calls; other reasons appear when they occur.
const BEGUN: [&str; 5] =
    ["ok", "no_credential", "upstream_unavailable", "upstream_rejected", "upstream_full"];
const COMPLETED: [&str; 6] =
    ["approved", "rejected", "session_lost", "full", "not_asked", "unknown"];

#[derive(Clone, Debug)]
pub(super) struct UpstreamMetrics(Histograms<2>);

impl UpstreamMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let help = "Calls to the FIDO2 server, retries included, by result";
        let new = Self(seconds(registry, "upstream", help, buckets));
        let begin = BEGUN.into_iter().map(|result| ("begin", result));
        let complete = COMPLETED.into_iter().map(|result| ("complete", result));
        for (call, result) in begin.chain(complete) {
            let _ = new.0.get_or_create_owned(&[("call", call.into()), ("result", result.into())]);
        }
        new
    }

    fn count(&self, call: &'static str, result: Cow<'static, str>, since: Instant) {
        let labels = [("call", call.into()), ("result", result)];
        self.0.get_or_create(&labels).observe(since.elapsed().as_secs_f64());
    }
}

/// From the built-in server to the longest completion, 15 seconds.
fn buckets() -> Histogram {
    Histogram::new([0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0])
}

#[derive(Debug)]
pub(super) struct MeasuredFido {
    fido: Arc<dyn Fido>,
    metrics: UpstreamMetrics,
}

impl MeasuredFido {
    pub(super) fn new(fido: Arc<dyn Fido>, metrics: UpstreamMetrics) -> Self {
        Self { fido, metrics }
    }
}

impl Fido for MeasuredFido {
    fn takes_username(&self, username: &Username) -> bool {
        self.fido.takes_username(username)
    }

    fn judges_locally(&self) -> bool {
        self.fido.judges_locally()
    }

    fn begin(&self, request: BeginRequest) -> BoxFuture<'_, Result<Begun, BeginFault>> {
        Box::pin(async move {
            let started = Instant::now();
            let begun = self.fido.begin(request).await;
            let result = match &begun {
                Ok(_) => "ok".into(),
                Err(fault) => fault.reason.code().into(),
            };
            self.metrics.count("begin", result, started);
            begun
        })
    }

    fn complete<'a>(
        &'a self,
        ceremony_type: CeremonyType,
        session: &'a UpstreamSession,
        credential: &'a RawValue,
        time_left_ms: u64,
    ) -> BoxFuture<'a, Completion> {
        Box::pin(async move {
            let started = Instant::now();
            let call = self.fido.complete(ceremony_type, session, credential, time_left_ms);
            let completion = call.await;
            let result = match &completion.verdict {
                Verdict::Approved(_) => "approved",
                Verdict::Rejected(_) => "rejected",
                Verdict::SessionLost => "session_lost",
                Verdict::Full => "full",
                Verdict::NotAsked => "not_asked",
                Verdict::Unknown => "unknown",
            };
            self.metrics.count("complete", result.into(), started);
            completion
        })
    }
}
