//! Hands wakes over to one service: so many at a time, again while that is of use, and not at all
//! while its far end is failing. What a call is and what an answer means is the service's.

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

/// The longest pause between two tries that a far end did not ask for.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// How many wakes a service may have, and when a far end is left alone.
#[derive(Clone, Copy, Debug)]
pub struct DispatchLimits {
    /// Wakes of a service that are under way, those that wait for a try among them.
    pub places: usize,
    /// Calls of a service at a time.
    pub calls: usize,
    /// The longest that a call may take.
    pub call_limit: Duration,
    /// About the pause before the second try; it doubles with each.
    pub first_retry: Duration,
    /// Failures in a row after which a far end is left alone.
    pub failures: u32,
    /// For how long, at first.
    pub pause: Duration,
}

impl Default for DispatchLimits {
    fn default() -> Self {
        Self {
            places: 1_000,
            calls: 64,
            call_limit: Duration::from_secs(10),
            first_retry: Duration::from_millis(500),
            failures: 5,
            pause: Duration::from_secs(10),
        }
    }
}

/// Why one call handed nothing over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DeliveryError {
    /// The address is no longer known.
    Gone,
    /// The far end works, and this wake is not to be sent again. The text is for the log, and of a
    /// closed list.
    Refused(String),
    /// The far end works and takes this wake later, after the pause that it asked for.
    Later(Option<Duration>),
    /// The far end does not work, or nothing was heard of it.
    Failing(Option<Duration>),
}

/// What one push service adds to the dispatcher.
pub(super) trait PushServiceClient: Send + Sync + std::fmt::Debug {
    fn permits(&self, target: &PushTarget) -> Result<(), Unpushable>;

    /// Who takes this wake; `None` if nothing of the configuration serves the target.
    fn far_end(&self, target: &PushTarget) -> Option<String>;

    /// Makes one call. `ttl_s` is what is left of the wake.
    fn call<'a>(&'a self, wake: &'a Wake, ttl_s: u64) -> BoxFuture<'a, Result<(), DeliveryError>>;

    /// Finds out whether the service takes the relay's credentials, without waking anything.
    fn probe(&self) -> BoxFuture<'_, Vec<PushProbe>>;
}

/// The wakes of one service.
#[derive(Debug)]
pub(super) struct Dispatcher {
    name: &'static str,
    service: Arc<dyn PushServiceClient>,
    pace: DispatchLimits,
    places: Semaphore,
    calls: Semaphore,
    lanes: FarEndQueues,
}

impl Dispatcher {
    pub(super) fn new(
        name: &'static str,
        service: Arc<dyn PushServiceClient>,
        pace: DispatchLimits,
        share: QueueLimits,
    ) -> Self {
        Self {
            name,
            service,
            pace,
            places: Semaphore::new(pace.places),
            calls: Semaphore::new(pace.calls),
            lanes: FarEndQueues::new(share),
        }
    }

    pub(super) fn service(&self) -> &dyn PushServiceClient {
        &*self.service
    }

    /// Wakes that are under way.
    pub(super) fn under_way(&self) -> usize {
        self.pace.places - self.places.available_permits()
    }

    /// Far ends that are remembered.
    pub(super) fn far_ends(&self) -> usize {
        self.lanes.len()
    }

    pub(super) async fn wake(&self, wake: &Wake) -> Result<(), PushFailure> {
        let deadline = Instant::now() + Duration::from_secs(wake.ttl_s);
        let far_end = self.service.far_end(&wake.target).ok_or(PushFailure::Unserved)?;
        let lane = self.lanes.of(&far_end).ok_or(PushFailure::Full)?;
        if lane.breaker().is_open(Instant::now()) {
            return Err(PushFailure::Failing);
        }
        let _place = self.places.try_acquire().map_err(|_| PushFailure::Full)?;
        let _lane_place = lane.places.try_acquire().map_err(|_| PushFailure::Full)?;
        let mut tries = 0;
        loop {
            let tried = timeout_at(deadline, self.attempt(&lane, wake, deadline)).await;
            let asked = match tried {
                Err(_) => return Err(PushFailure::Late),
                Ok(Ok(())) => return Ok(()),
                Ok(Err(DeliveryError::Gone)) => return Err(PushFailure::Gone),
                Ok(Err(DeliveryError::Refused(said))) => {
                    tracing::warn!(service = self.name, said, "a wake was refused");
                    return Err(PushFailure::Refused);
                }
                Ok(Err(DeliveryError::Later(asked) | DeliveryError::Failing(asked))) => asked,
            };
            let pause = self.pause(tries, asked);
            // Then it would be of no use.
            if pause >= deadline.saturating_duration_since(Instant::now()) {
                return Err(PushFailure::Late);
            }
            sleep(pause).await;
            tries += 1;
        }
    }

    /// One call, once there is room for it and the far end is to be called.
    async fn attempt(
        &self,
        lane: &FarEndQueue,
        wake: &Wake,
        deadline: Instant,
    ) -> Result<(), DeliveryError> {
        let (_lane_call, _call) = loop {
            // Neither is ever closed.
            let call = (lane.calls.acquire().await.ok(), self.calls.acquire().await.ok());
            // Made before the look, so that no word of a recovery is missed in between.
            let recovered = lane.recovered.notified();
            let pass = lane.breaker().pass(Instant::now(), self.pace.pause);
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
        let called = timeout(self.pace.call_limit, self.service.call(wake, left)).await;
        let called = called.unwrap_or(Err(DeliveryError::Failing(None)));
        self.judge(lane, &called);
        called
    }

    fn judge(&self, lane: &FarEndQueue, called: &Result<(), DeliveryError>) {
        let mut breaker = lane.breaker();
        let was_at_rest = breaker.is_at_rest();
        match called {
            Ok(())
            | Err(DeliveryError::Gone | DeliveryError::Refused(_) | DeliveryError::Later(_)) => {
                breaker.well();
                if !was_at_rest {
                    lane.recovered.notify_waiters();
                }
            }
            Err(DeliveryError::Failing(_)) => {
                let now = Instant::now();
                let was_open = breaker.is_open(now);
                breaker.failed(now, self.pace.failures, self.pace.pause);
                if !was_open && breaker.is_open(now) {
                    tracing::warn!(service = self.name, "a push service fails and is left alone");
                }
            }
        }
    }

    /// Between half and all of a pause that doubles, or a little more than the far end asked for.
    fn pause(&self, tries: u32, asked: Option<Duration>) -> Duration {
        let full = self.pace.first_retry.saturating_mul(1 << tries.min(5)).min(PAUSE_MAX);
        let half = full / 2;
        let most = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let jitter = Duration::from_millis(random::below(most));
        half.max(asked.unwrap_or_default()).saturating_add(jitter)
    }
}
