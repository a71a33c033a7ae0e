//! The present faults of a simulated world, and its clock. All actors in it
//! share one.

use std::sync::{Mutex, MutexGuard};

use fido_relay::ports::Clock;
use fido_relay_proto::UnixMillis;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::history::Event;
use super::rng::Rng;

/// How often each thing goes wrong, in cases of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// A write is refused, and is not there.
    pub(super) refused: u64,
    /// A write is stored and the process crashes before it gets the answer.
    pub(super) crash_after_write: u64,
    /// A load gives the version before.
    pub(super) stale: u64,
    /// A load fails.
    pub(super) unreadable: u64,
    /// A notice is lost; one comes twice.
    pub(super) lost_notice: u64,
    /// The FIDO2 server says no, fails, or its answer is lost.
    pub(super) upstream: u64,
    /// Longest time that a store's operation takes.
    pub(super) store_ms: u64,
    /// Longest time that a FIDO2 server's call takes.
    pub(super) upstream_ms: u64,
}

/// What is left when nothing is wrong: things take time.
pub(super) const HEALED: Faults = Faults {
    refused: 0,
    crash_after_write: 0,
    stale: 0,
    unreadable: 0,
    lost_notice: 0,
    upstream: 0,
    store_ms: 20,
    upstream_ms: 200,
};

/// What all actors of a simulated world share.
#[derive(Debug)]
pub(super) struct World {
    /// Only this process writes the store, and no read of it lags.
    pub(super) is_exclusive: bool,
    /// The FIDO2 server works on the relay's own store.
    pub(super) is_local: bool,
    rng: Mutex<Rng>,
    faults: Mutex<Faults>,
    /// Until when the store is down.
    outage: Mutex<Option<Instant>>,
    history: Mutex<Vec<Event>>,
    /// A moment of the runtime's time and what the wall clock says then.
    clock: Mutex<Option<(Instant, u64)>>,
    life: Mutex<u32>,
    /// Cancelled when the process crashes in the middle of something.
    crashed: Mutex<CancellationToken>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            is_exclusive: seed % 2 == 1,
            is_local: seed % 4 >= 2,
            rng: Mutex::new(Rng::new(seed)),
            faults: Mutex::default(),
            outage: Mutex::default(),
            history: Mutex::default(),
            clock: Mutex::default(),
            life: Mutex::default(),
            crashed: Mutex::default(),
        }
    }

    pub(super) fn rng(&self) -> MutexGuard<'_, Rng> {
        self.rng.lock().unwrap()
    }

    pub(super) fn faults(&self) -> Faults {
        *self.faults.lock().unwrap()
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    pub(super) fn happens(&self, per_mille: u64) -> bool {
        self.rng().happens(per_mille)
    }

    pub(super) fn tell(&self, event: Event) {
        self.history.lock().unwrap().push(event);
    }

    /// Events so far.
    pub(super) fn events(&self) -> usize {
        self.history.lock().unwrap().len()
    }

    pub(super) fn history(&self) -> Vec<Event> {
        std::mem::take(&mut *self.history.lock().unwrap())
    }

    /// The store is down from now until then.
    pub(super) fn set_outage(&self, until: Option<Instant>) {
        *self.outage.lock().unwrap() = until;
    }

    pub(super) fn is_out(&self) -> bool {
        self.outage.lock().unwrap().is_some_and(|until| Instant::now() < until)
    }

    /// Which run of the relay this is.
    pub(super) fn life(&self) -> u32 {
        *self.life.lock().unwrap()
    }

    /// A runtime starts, with a time of its own; the wall clock goes on where it stood.
    pub(super) fn begin_life(&self, wall: u64) {
        *self.life.lock().unwrap() += 1;
        *self.clock.lock().unwrap() = Some((Instant::now(), wall));
        *self.crashed.lock().unwrap() = CancellationToken::new();
        self.set_outage(None);
    }

    /// The life that is lived ends now.
    pub(super) fn crash(&self) {
        self.crashed().cancel();
    }

    pub(super) fn crashed(&self) -> CancellationToken {
        self.crashed.lock().unwrap().clone()
    }

    /// The wall clock is set.
    pub(super) fn jump(&self, by_ms: i64) {
        let mut clock = self.clock.lock().unwrap();
        if let Some((_, wall)) = clock.as_mut() {
            *wall = wall.saturating_add_signed(by_ms);
        }
    }

    pub(super) async fn take(&self, most_ms: u64) {
        let delay = self.rng().delay_ms(most_ms);
        pause(delay).await;
    }
}

pub(super) async fn pause(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
    }
}

impl Clock for World {
    fn now(&self) -> UnixMillis {
        let (start, wall) = self.clock.lock().unwrap().unwrap();
        UnixMillis(wall + u64::try_from(start.elapsed().as_millis()).unwrap())
    }
}
