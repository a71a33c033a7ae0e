//! Progress on standard error, and latencies for the report.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Interval of updates: a terminal's line is rewritten, a file gets one more.
const ON_TERMINAL: Duration = Duration::from_millis(200);
const IN_FILE: Duration = Duration::from_secs(5);

/// The progress of one stage, written to standard error.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    total: usize,
    done: AtomicUsize,
    written: Mutex<Instant>,
    terminal: bool,
}

impl Progress {
    pub(super) fn new(what: &'static str, total: usize) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let written = Mutex::new(Instant::now());
        Self { what, total, done: AtomicUsize::new(0), written, terminal }
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn step(&self) {
        self.at(self.done.load(Ordering::Relaxed) + 1);
    }

    pub(super) fn at(&self, done: usize) {
        self.done.store(done, Ordering::Relaxed);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.elapsed() >= if self.terminal { ON_TERMINAL } else { IN_FILE } {
            *written = Instant::now();
            self.write();
        }
    }

    pub(super) fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn write(&self) {
        let done = self.done.load(Ordering::Relaxed);
        let (open, close) = if self.terminal { ("\r", "\x1b[K") } else { ("", "\n") };
        let percent = done * 100 / self.total.max(1);
        // Ignored: the report does not depend on it.
        let _ = write!(
            std::io::stderr(),
            "{open}{:<12} {done:>7} of {}  {percent:>3} %{close}",
            self.what,
            self.total,
        );
    }
}

/// Latencies of one measurement, and its total time.
#[derive(Debug)]
pub(super) struct Latencies {
    sorted: Vec<Duration>,
    took: Duration,
}

impl Latencies {
    pub(super) fn new(mut each: Vec<Duration>, took: Duration) -> Self {
        each.sort_unstable();
        Self { sorted: each, took }
    }

    pub(super) fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Operations a second.
    pub(super) fn rate(&self) -> f64 {
        self.count() as f64 / self.took.as_secs_f64()
    }

    /// The percentile by nearest rank; 0 without any latency.
    pub(super) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        self.sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = |percent| self.percentile(percent).as_secs_f64() * 1000.0;
        write!(
            f,
            "{:>9.0} /s   p50 {:>7.2} ms   p99 {:>7.2} ms",
            self.rate(),
            millis(50),
            millis(99)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: impl IntoIterator<Item = u64>) -> Latencies {
        let each = millis.into_iter().map(Duration::from_millis).collect();
        Latencies::new(each, Duration::from_secs(2))
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let latencies = of((1..=200).rev());
        assert_eq!(latencies.percentile(50), Duration::from_millis(100));
        assert_eq!(latencies.percentile(99), Duration::from_millis(198));
        assert_eq!(latencies.percentile(100), Duration::from_millis(200));
        assert_eq!(of([7]).percentile(50), Duration::from_millis(7));
        assert_eq!(of([]).percentile(99), Duration::ZERO);
    }

    #[test]
    fn a_rate_is_the_count_over_the_whole_time() {
        assert!((of(0..500).rate() - 250.0).abs() < f64::EPSILON);
    }
}
