//! When to dial again, and when not: backoff with full jitter, and what the close codes ask. Pure:
//! it is told what happened and draws from a given source.

use std::time::Duration;

use super::event::Stopped;

/// A connection that stood this long was no failure: the backoff begins anew.
const SETTLED: Duration = Duration::from_secs(10);
/// Proofs refused in a row after which the relay evidently does not know the device: every
/// failure before authentication has the same close code, so patience is the only test.
const PROOFS: u32 = 5;

/// How fast a phone dials again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The longest first wait; it doubles with every failure.
    pub base: Duration,
    /// The longest wait of all.
    pub cap: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { base: Duration::from_millis(500), cap: Duration::from_secs(60) }
    }
}

/// Why there is no socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// It broke, fell silent, or never came to be.
    Lost,
    /// The relay closed it.
    Closed(Option<u16>),
    /// The upgrade was answered with an HTTP status.
    Refused { status: u16, retry_after_s: Option<u64> },
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Wait(Duration),
    Stop(Stopped),
}

/// How urgently a close code lets the phone come back.
enum Manner {
    Soon,
    Later,
    Prove,
    Never(Stopped),
}

/// What is remembered from one socket to the next.
#[derive(Debug)]
pub(super) struct Reconnect {
    pace: Pace,
    failures: u32,
    refused_proofs: u32,
}

impl Reconnect {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, failures: 0, refused_proofs: 0 }
    }

    /// Decides after a socket that stood for `stood` (zero if there was none). `goaway` is what is
    /// left of the wait that the relay asked for; it comes jittered and is kept as it is. `draw`
    /// gives a number below its argument.
    pub(super) fn after(
        &mut self,
        cause: Cause,
        stood: Duration,
        goaway: Option<Duration>,
        draw: impl Fn(u64) -> u64,
    ) -> Next {
        if stood >= SETTLED {
            self.failures = 0;
        }
        if !stood.is_zero() {
            self.refused_proofs = 0;
        }
        let slow = match manner(cause) {
            Manner::Never(why) => return Next::Stop(why),
            Manner::Prove => {
                self.refused_proofs += 1;
                if self.refused_proofs >= PROOFS {
                    return Next::Stop(Stopped::Unknown);
                }
                false
            }
            Manner::Soon => false,
            Manner::Later => true,
        };
        if let Some(left) = goaway {
            return Next::Wait(left);
        }
        let ceiling = self.pace.base.saturating_mul(1 << self.failures.min(16)).min(self.pace.cap);
        self.failures += 1;
        let jitter = Duration::from_millis(draw(millis(ceiling) + 1));
        let least = match cause {
            Cause::Refused { retry_after_s: Some(s), .. } => {
                Duration::from_secs(s).min(self.pace.cap)
            }
            Cause::Lost | Cause::Closed(_) | Cause::Refused { .. } if slow => {
                self.pace.base.saturating_mul(10).min(self.pace.cap)
            }
            Cause::Lost | Cause::Closed(_) | Cause::Refused { .. } => Duration::ZERO,
        };
        Next::Wait(least + jitter)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}

fn manner(cause: Cause) -> Manner {
    match cause {
        Cause::Lost | Cause::Closed(None) => Manner::Soon,
        Cause::Closed(Some(code)) => match code {
            // The phone's own fault, or too much of it: the same again at once helps nobody.
            1002 | 1003 | 1007 | 1008 | 1009 | 1013 | 4429 => Manner::Later,
            4401 => Manner::Prove,
            4403 => Manner::Never(Stopped::Revoked),
            4409 => Manner::Never(Stopped::Replaced),
            4426 => Manner::Never(Stopped::TooOld),
            _ => Manner::Soon,
        },
        Cause::Refused { status: 426, .. } => Manner::Never(Stopped::TooOld),
        Cause::Refused { .. } => Manner::Later,
    }
}
