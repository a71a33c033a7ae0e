//! One endpoint's deliveries in memory: what is due when, how many are on their way, and a circuit
//! breaker. Pure: it is told the time and gives the next turn. Each endpoint has a lane of its
//! own, so that one that is slow or down delays no other.
//!
//! ```text
//!            5 failures in a row            the pause is over
//!   closed ──────────────────────▶ open ──────────────────────▶ one probe
//!     ▲                              ▲ failed, a longer pause       │
//!     └── succeeded: what waits is due at once ◀────────────────────┘
//! ```
//! A probe begins once nothing else is on its way, and only its own result counts.

use std::collections::{BTreeSet, HashMap, HashSet};

use fido_relay_proto::{EventId, UnixMillis};

/// Deliveries of one endpoint that are on their way at once.
pub(super) const IN_FLIGHT: usize = 4;
/// Deliveries of one endpoint that wait at most; one more is kept as a dead letter.
pub(super) const WAITING: usize = 100_000;
/// Failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// First and longest pause of an open breaker, in milliseconds.
const PAUSE_MS: (u64, u64) = (30_000, 10 * 60_000);

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Try to deliver this.
    Send(EventId),
    /// Its time is over, or its endpoint's: give it up.
    GiveUp(EventId),
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptResult {
    /// It arrived.
    Arrived,
    /// It did not, and is due again.
    Failed {
        due: UnixMillis,
        until: UnixMillis,
        /// The endpoint asked for silence until then.
        hold: Option<UnixMillis>,
    },
    /// It did not, and is given up.
    Dead,
    /// The endpoint is gone: nothing is sent any more.
    Closed,
    /// It was no try: there was nothing to send.
    Nothing,
    /// It was no try: the relay itself could not, and will again.
    Later { due: UnixMillis, until: UnixMillis },
    /// It was to be given up, but the endpoint is there again, and it is not at its end.
    Reopened { due: UnixMillis, until: UnixMillis },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaker {
    Closed { failures: u32 },
    Open { until: UnixMillis, times: u32 },
    Probing { id: EventId, times: u32 },
}

/// Whether an endpoint is being sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Circuit {
    /// It is.
    Closed,
    /// It failed too often in a row.
    Open,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    due: UnixMillis,
    until: UnixMillis,
}

/// One endpoint's deliveries.
#[derive(Debug)]
pub(super) struct EndpointQueue {
    waiting: HashMap<EventId, Times>,
    by_due: BTreeSet<(UnixMillis, EventId)>,
    by_end: BTreeSet<(UnixMillis, EventId)>,
    flying: HashSet<EventId>,
    breaker: Breaker,
    held_until: UnixMillis,
    closed: bool,
}

impl Default for EndpointQueue {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            by_due: BTreeSet::new(),
            by_end: BTreeSet::new(),
            flying: HashSet::new(),
            breaker: Breaker::Closed { failures: 0 },
            held_until: UnixMillis(0),
            closed: false,
        }
    }
}

impl EndpointQueue {
    /// Takes a delivery up; once more does not put it off. `false`: the lane is full.
    pub(super) fn insert(&mut self, id: EventId, due: UnixMillis, until: UnixMillis) -> bool {
        if self.flying.contains(&id) {
            return true;
        }
        if self.waiting.len() >= WAITING && !self.waiting.contains_key(&id) {
            return false;
        }
        let due = self.waiting.get(&id).map_or(due, |known| known.due.min(due));
        self.remove(id);
        self.waiting.insert(id, Times { due, until });
        self.by_due.insert((due, id));
        self.by_end.insert((until, id));
        true
    }

    fn remove(&mut self, id: EventId) {
        if let Some(times) = self.waiting.remove(&id) {
            self.by_due.remove(&(times.due, id));
            self.by_end.remove(&(times.until, id));
        }
    }

    fn take(&mut self, id: EventId) {
        self.remove(id);
        self.flying.insert(id);
    }

    /// The next turn that is due; it is on its way until [`EndpointQueue::landed`].
    pub(super) fn next(&mut self, now: UnixMillis) -> Option<Turn> {
        if self.flying.len() >= IN_FLIGHT {
            return None;
        }
        // While the breaker is closed, what is at its end still gets its last try.
        let shut = self.closed || !matches!(self.breaker, Breaker::Closed { .. });
        if shut {
            let over = self.by_end.first().filter(|(end, _)| self.closed || *end <= now);
            if let Some(&(_, id)) = over {
                self.take(id);
                return Some(Turn::GiveUp(id));
            }
        }
        if self.closed || now < self.held_until {
            return None;
        }
        let &(due, id) = self.by_due.first()?;
        if now < due {
            return None;
        }
        match self.breaker {
            Breaker::Closed { .. } => {}
            Breaker::Open { until, times } if until <= now && self.flying.is_empty() => {
                self.breaker = Breaker::Probing { id, times };
            }
            Breaker::Open { .. } | Breaker::Probing { .. } => return None,
        }
        self.take(id);
        Some(Turn::Send(id))
    }

    /// When [`EndpointQueue::next`] may have something, if nothing lands before.
    pub(super) fn wakes_at(&self) -> Option<UnixMillis> {
        if self.flying.len() >= IN_FLIGHT {
            return None;
        }
        let (end, _) = self.by_end.first()?;
        if self.closed {
            return Some(UnixMillis(0));
        }
        let due = self.by_due.first().map(|(due, _)| (*due).max(self.held_until));
        match self.breaker {
            Breaker::Closed { .. } => due,
            Breaker::Open { until, .. } if self.flying.is_empty() => {
                Some(due.map_or(*end, |due| due.max(until).min(*end)))
            }
            Breaker::Open { .. } | Breaker::Probing { .. } => Some(*end),
        }
    }

    /// What came of a turn. `draw` gives a number below its argument.
    pub(super) fn landed(
        &mut self,
        id: EventId,
        landed: AttemptResult,
        now: UnixMillis,
        draw: impl Fn(u64) -> u64,
    ) {
        self.flying.remove(&id);
        match landed {
            AttemptResult::Arrived => self.succeeded(now),
            AttemptResult::Failed { due, until, hold } => {
                self.insert(id, due, until);
                if let Some(hold) = hold {
                    self.held_until = self.held_until.max(hold);
                }
                self.failed(id, now, draw);
            }
            AttemptResult::Dead => self.failed(id, now, draw),
            AttemptResult::Closed => {
                self.closed = true;
                self.not_probed(id, now);
            }
            AttemptResult::Reopened { due, until } => {
                if self.closed {
                    self.reopen(now);
                }
                self.insert(id, due, until);
            }
            AttemptResult::Nothing => self.not_probed(id, now),
            AttemptResult::Later { due, until } => {
                self.insert(id, due, until);
                self.not_probed(id, now);
            }
        }
    }

    fn succeeded(&mut self, now: UnixMillis) {
        let was_shut = !matches!(self.breaker, Breaker::Closed { .. });
        self.breaker = Breaker::Closed { failures: 0 };
        if was_shut {
            self.hurry(now);
        }
    }

    /// Everything that waits is due.
    fn hurry(&mut self, now: UnixMillis) {
        self.held_until = now;
        let ids: Vec<_> = self.by_due.iter().map(|(_, id)| *id).collect();
        self.by_due = ids.iter().map(|id| (now, *id)).collect();
        for times in self.waiting.values_mut() {
            times.due = now;
        }
    }

    fn failed(&mut self, id: EventId, now: UnixMillis, draw: impl Fn(u64) -> u64) {
        self.breaker = match self.breaker {
            Breaker::Closed { failures } if failures + 1 < FAILURES => {
                Breaker::Closed { failures: failures + 1 }
            }
            Breaker::Closed { .. } => open(now, 0, draw),
            Breaker::Probing { id: probe, times } if probe == id => open(now, times + 1, draw),
            // One that was on its way when the breaker opened.
            open @ (Breaker::Open { .. } | Breaker::Probing { .. }) => open,
        };
    }

    /// A probe that was none leaves the question open.
    fn not_probed(&mut self, id: EventId, now: UnixMillis) {
        if let Breaker::Probing { id: probe, times } = self.breaker
            && probe == id
        {
            self.breaker = Breaker::Open { until: now, times };
        }
    }

    /// The endpoint is said to be well, or is another one now: what waits is due. One that failed
    /// too often is probed first all the same.
    pub(super) fn reopen(&mut self, now: UnixMillis) {
        self.closed = false;
        self.breaker = match self.breaker {
            closed @ Breaker::Closed { .. } => closed,
            Breaker::Open { .. } => Breaker::Open { until: now, times: 0 },
            Breaker::Probing { id, .. } => Breaker::Probing { id, times: 0 },
        };
        self.hurry(now);
    }

    /// The endpoint was removed, and with it all that waits for it.
    pub(super) fn clear(&mut self) {
        let flying = std::mem::take(&mut self.flying);
        *self = Self { flying, ..Self::default() };
    }

    /// What an earlier process learnt of the endpoint, by a delivery that it left waiting: it
    /// failed this often, and asked for silence until then.
    pub(super) fn recall(&mut self, attempts: u32, hold: Option<UnixMillis>) {
        self.held_until = self.held_until.max(hold.unwrap_or_default());
        if let Breaker::Closed { failures } = self.breaker {
            let failures = failures.saturating_add(attempts);
            self.breaker = if failures < FAILURES {
                Breaker::Closed { failures }
            } else {
                Breaker::Open { until: UnixMillis(0), times: 0 }
            };
        }
    }

    pub(super) fn circuit(&self) -> Circuit {
        match self.breaker {
            Breaker::Closed { .. } => Circuit::Closed,
            Breaker::Open { .. } | Breaker::Probing { .. } => Circuit::Open,
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.flying.len()
    }

    /// When the delivery that waits longest was due.
    pub(super) fn oldest_due(&self) -> Option<UnixMillis> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// Nothing waits, nothing is on its way, and nothing has to be remembered.
    pub(super) fn is_idle(&self) -> bool {
        let calm = matches!(self.breaker, Breaker::Closed { failures: 0 });
        self.waiting.is_empty() && self.flying.is_empty() && calm && !self.closed
    }
}

/// A pause of half to the whole of its length.
fn open(now: UnixMillis, times: u32, draw: impl Fn(u64) -> u64) -> Breaker {
    let (first, longest) = PAUSE_MS;
    let pause = first.saturating_mul(1 << times.min(10)).min(longest);
    Breaker::Open { until: now.plus_millis(pause / 2 + draw(pause / 2 + 1)), times }
}
