//! When to reconnect: backoff with full jitter, and the rules of the close codes. Pure: clock and
//! randomness are arguments.

use std::time::Duration;

use super::event::StopReason;

/// A connection that lasted this long resets the backoff.
const SETTLED: Duration = Duration::from_secs(10);
/// Refused proofs in a row after which the device counts as unknown to the relay. One proves nothing,
/// as every failure before authentication has the same close code.
const PROOFS: u32 = 5;

/// How fast a phone reconnects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Ceiling of the first wait, doubled by every failure.
    pub base: Duration,
    /// Ceiling of every wait.
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(500), cap: Duration::from_secs(60) }
    }
}

/// Why the connection ended or was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DisconnectCause {
    Lost,
    /// By the relay, with its close code.
    Closed(Option<u16>),
    /// By an HTTP status in place of the upgrade.
    Refused {
        status: u16,
        retry_after_s: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReconnectStep {
    Wait(Duration),
    Stop(StopReason),
}

/// When a cause lets the phone reconnect.
enum RetryPolicy {
    Soon,
    Later,
    ProveAgain,
    Never(StopReason),
}

/// The reconnect state across connections.
#[derive(Debug)]
pub(super) struct Reconnect {
    backoff: Backoff,
    failures: u32,
    refused_proofs: u32,
}

impl Reconnect {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0, refused_proofs: 0 }
    }

    /// Decides after a connection that was welcomed for `stood` (zero if it never was). `goaway` is
    /// the rest of the wait that the relay asked for, which is jittered already. `draw` returns a
    /// random number below its argument.
    pub(super) fn after(
        &mut self,
        cause: DisconnectCause,
        stood: Duration,
        goaway: Option<Duration>,
        draw: impl Fn(u64) -> u64,
    ) -> ReconnectStep {
        if stood >= SETTLED {
            self.failures = 0;
        }
        if !stood.is_zero() {
            self.refused_proofs = 0;
        }
        let slow = match retry_policy(cause) {
            RetryPolicy::Never(why) => return ReconnectStep::Stop(why),
            RetryPolicy::ProveAgain => {
                self.refused_proofs += 1;
                if self.refused_proofs >= PROOFS {
                    return ReconnectStep::Stop(StopReason::Unknown);
                }
                false
            }
            RetryPolicy::Soon => false,
            RetryPolicy::Later => true,
        };
        if let Some(left) = goaway {
            return ReconnectStep::Wait(left);
        }
        let ceiling =
            self.backoff.base.saturating_mul(1 << self.failures.min(16)).min(self.backoff.cap);
        self.failures += 1;
        let jitter = Duration::from_millis(draw(millis(ceiling) + 1));
        let least = match cause {
            DisconnectCause::Refused { retry_after_s: Some(s), .. } => {
                Duration::from_secs(s).min(self.backoff.cap)
            }
            DisconnectCause::Lost
            | DisconnectCause::Closed(_)
            | DisconnectCause::Refused { .. }
                if slow =>
            {
                self.backoff.base.saturating_mul(10).min(self.backoff.cap)
            }
            DisconnectCause::Lost
            | DisconnectCause::Closed(_)
            | DisconnectCause::Refused { .. } => Duration::ZERO,
        };
        ReconnectStep::Wait(least + jitter)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}

fn retry_policy(cause: DisconnectCause) -> RetryPolicy {
    match cause {
        DisconnectCause::Lost | DisconnectCause::Closed(None) => RetryPolicy::Soon,
        DisconnectCause::Closed(Some(code)) => match code {
            // The phone broke the protocol or a limit: an immediate repetition would fail as well.
            1002 | 1003 | 1007 | 1008 | 1009 | 1013 | 4429 => RetryPolicy::Later,
            4401 => RetryPolicy::ProveAgain,
            4403 => RetryPolicy::Never(StopReason::Revoked),
            4409 => RetryPolicy::Never(StopReason::Replaced),
            4426 => RetryPolicy::Never(StopReason::TooOld),
            _ => RetryPolicy::Soon,
        },
        DisconnectCause::Refused { status: 426, .. } => RetryPolicy::Never(StopReason::TooOld),
        DisconnectCause::Refused { .. } => RetryPolicy::Later,
    }
}
