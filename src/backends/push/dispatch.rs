//! Hands wakes to one push service: with concurrency limits, with retries until the wake's deadline,
//! and with a circuit breaker per far end. A [`PushServiceClient`] makes the call and judges its
//! answer.

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::http::PushTarget;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::breaker::BreakerDecision;
use super::far_end_queue::{FarEndQueue, FarEndQueues, QueueLimits};
use super::probe::PushProbe;
use crate::ports::{PushFailure, Unpushable, Wake};
use crate::security::random;

/// The longest backoff, unless a far end asks for more.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Limits of each service: concurrency, retries and circuit breaking.
#[derive(Clone, Copy, Debug)]
pub struct DispatchLimits {
    /// Concurrent wakes, those between two attempts included.
    pub slots: usize,
    pub calls: usize,
    /// Timeout of one call.
    pub call_limit: Duration,
    /// Backoff before the second attempt; it doubles with each.
    pub first_retry: Duration,
    /// Failures in a row that open a far end's breaker.
    pub breaker_failures: u32,
    /// The breaker's first pause.
    pub breaker_pause: Duration,
}

impl Default for DispatchLimits {
    fn default() -> Self {
        Self {
            slots: 1_000,
            calls: 64,
            call_limit: Duration::from_secs(10),
            first_retry: Duration::from_millis(500),
            breaker_failures: 5,
            breaker_pause: Duration::from_secs(10),
        }
    }
}

/// Why one call did not deliver the wake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DeliveryError {
    /// The service no longer knows the address.
    Gone,
    /// The far end works and refuses this wake for good. The text is for the log, and of a closed
    /// list.
    Refused(String),
    /// The far end works and asks for a retry, after this pause if it names one.
    Later(Option<Duration>),
    /// The far end does not work or did not answer.
    Failing(Option<Duration>),
}

/// One push service, as the dispatcher uses it.
pub(super) trait PushServiceClient: Send + Sync + std::fmt::Debug {
    fn permits(&self, target: &PushTarget) -> Result<(), Unpushable>;

    /// The name of the server or account that takes this wake; `None` if none is configured for the
    /// target.
    fn far_end(&self, target: &PushTarget) -> Option<String>;

    /// Makes one call. `ttl_s` is the remaining life of the wake.
    fn call<'a>(&'a self, wake: &'a Wake, ttl_s: u64) -> BoxFuture<'a, Result<(), DeliveryError>>;

    /// Checks whether the service accepts the relay's credentials, without waking a device.
    fn probe(&self) -> BoxFuture<'_, Vec<PushProbe>>;
}

/// The dispatcher of one service.
#[derive(Debug)]
pub(super) struct PushDispatcher {
    name: &'static str,
    service: Arc<dyn PushServiceClient>,
    limits: DispatchLimits,
    slots: Semaphore,
    calls: Semaphore,
    queues: FarEndQueues,
}

impl PushDispatcher {
    pub(super) fn new(
        name: &'static str,
        service: Arc<dyn PushServiceClient>,
        limits: DispatchLimits,
        queue_limits: QueueLimits,
    ) -> Self {
        Self {
            name,
            service,
            limits,
            slots: Semaphore::new(limits.slots),
            calls: Semaphore::new(limits.calls),
            queues: FarEndQueues::new(queue_limits),
        }
    }

    pub(super) fn service(&self) -> &dyn PushServiceClient {
        &*self.service
    }

    #[cfg(feature = "test-support")]
    pub(super) fn under_way(&self) -> usize {
        self.limits.slots - self.slots.available_permits()
    }

    /// Far ends with a queue.
    #[cfg(feature = "test-support")]
    pub(super) fn far_ends(&self) -> usize {
        self.queues.len()
    }

    pub(super) async fn wake(&self, wake: &Wake) -> Result<(), PushFailure> {
        let deadline = Instant::now() + Duration::from_secs(wake.ttl_s);
        let far_end = self.service.far_end(&wake.target).ok_or(PushFailure::Unserved)?;
        let queue = self.queues.of(&far_end).ok_or(PushFailure::Full)?;
        if queue.breaker().is_open(Instant::now()) {
            return Err(PushFailure::Failing);
        }
        let _slot = self.slots.try_acquire().map_err(|_| PushFailure::Full)?;
        let _queue_slot = queue.slots.try_acquire().map_err(|_| PushFailure::Full)?;
        let mut tries = 0;
        loop {
            let tried = timeout_at(deadline, self.attempt(&queue, wake, deadline)).await;
            let asked = match tried {
                Err(_) => return Err(PushFailure::Late),
                Ok(Ok(())) => return Ok(()),
                Ok(Err(DeliveryError::Gone)) => return Err(PushFailure::Gone),
                Ok(Err(DeliveryError::Refused(said))) => {
                    tracing::warn!(service = self.name, said, "a push service refused a wake");
                    return Err(PushFailure::Refused);
                }
                Ok(Err(DeliveryError::Later(asked) | DeliveryError::Failing(asked))) => asked,
            };
            let pause = self.pause(tries, asked);
            // The wake would be too late.
            if pause >= deadline.saturating_duration_since(Instant::now()) {
                return Err(PushFailure::Late);
            }
            sleep(pause).await;
            tries += 1;
        }
    }

    /// One call, once the concurrency limits and the breaker allow it.
    async fn attempt(
        &self,
        queue: &FarEndQueue,
        wake: &Wake,
        deadline: Instant,
    ) -> Result<(), DeliveryError> {
        let (_queue_call, _call) = loop {
            // Neither semaphore is ever closed.
            let call = (queue.calls.acquire().await.ok(), self.calls.acquire().await.ok());
            // Subscribed before the check, so that no notification is lost in between.
            let recovered = queue.recovered.notified();
            let pass = queue.breaker().pass(Instant::now(), self.limits.breaker_pause);
            match pass {
                BreakerDecision::Allow => break call,
                BreakerDecision::WaitUntil(until) => {
                    drop(call);
                    tokio::select! {
                        () = recovered => {}
                        () = sleep_until(until) => {}
                    }
                }
            }
        };
        let left = deadline.saturating_duration_since(Instant::now()).as_secs().max(1);
        let called = timeout(self.limits.call_limit, self.service.call(wake, left)).await;
        let called = called.unwrap_or(Err(DeliveryError::Failing(None)));
        self.judge(queue, &called);
        called
    }

    fn judge(&self, queue: &FarEndQueue, called: &Result<(), DeliveryError>) {
        let mut breaker = queue.breaker();
        let was_reset = breaker.is_reset();
        match called {
            Ok(())
            | Err(DeliveryError::Gone | DeliveryError::Refused(_) | DeliveryError::Later(_)) => {
                breaker.succeeded();
                if !was_reset {
                    queue.recovered.notify_waiters();
                }
            }
            Err(DeliveryError::Failing(_)) => {
                let now = Instant::now();
                let was_open = breaker.is_open(now);
                breaker.failed(now, self.limits.breaker_failures, self.limits.breaker_pause);
                if !was_open && breaker.is_open(now) {
                    tracing::warn!(
                        service = self.name,
                        "a push service fails: calls to it are paused"
                    );
                }
            }
        }
    }

    /// Exponential backoff with jitter, and at least what the far end asked for.
    fn pause(&self, tries: u32, asked: Option<Duration>) -> Duration {
        let full = self.limits.first_retry.saturating_mul(1 << tries.min(5)).min(PAUSE_MAX);
        let half = full / 2;
        let most = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let jitter = Duration::from_millis(random::below(most));
        half.max(asked.unwrap_or_default()).saturating_add(jitter)
    }
}
