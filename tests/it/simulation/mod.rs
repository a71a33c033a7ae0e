//! The relay in a simulated world: the real orchestration and the real rules over a store, a bus,
//! a FIDO2 server, a clock, phones and initiators that do, from one seed, whatever the ports and
//! the wire allow. Afterwards everything heals, every deadline passes, and a checker holds the
//! history against what is promised.
//!
//! ```text
//!  seed ─▶ chance ─▶ weather (faults, clock) ─┐
//!                    phones, initiators ──────┼─▶ Relay ─▶ history ─▶ checker
//!                    crash: runtime dropped ──┘   (lives, one store)
//! ```
//! `SIMULATION_SEEDS` sets how many seeds are played and `SIMULATION_FIRST` with which to begin, which
//! `./check` derives from the commit; with one seed, its history is printed.

mod checker;
mod checker_tests;
mod history;
mod phone;
mod play;
mod push;
pub(crate) mod rng;
mod store;
mod told;
mod upstream;
mod world;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fido_relay::core::ceremony::{Ceremony, FactKind};
use fido_relay::node::NodeOccupancy;
use fido_relay_proto::DeviceId;

use crate::support::metric_samples::MetricSamples;

/// Seeds in an ordinary run of the tests.
const SEEDS: u64 = 1_000;

fn user_of(device: DeviceId) -> &'static str {
    if device.as_bytes()[0] == 3 { "bob" } else { "ada" }
}

/// A number that the environment sets, for a longer run than the suite's.
pub(crate) fn number(variable: &str, otherwise: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how a longer run is asked for")]
    std::env::var(variable).map_or(otherwise, |value| value.parse().unwrap())
}

/// What the seed broke; with `told`, its history goes to standard error.
fn broken_by(seed: u64, told: bool) -> Vec<String> {
    let played = play::play(seed);
    if told {
        let mut story = format!("{:?}\n", played.climate);
        for event in &played.history {
            story.push_str(&format!("{event}\n"));
        }
        std::io::stderr().write_all(story.as_bytes()).unwrap();
    }
    let mut broken = checker::check(played.climate, &played.history, &user_of);
    if played.left != NodeOccupancy::default() {
        broken.push(format!("I9, I11: with nothing open it still holds {:?}", played.left));
    }
    if !played.still_counted.is_empty() {
        broken.push(format!("ended, and open for their user: {:?}", played.still_counted));
    }
    // The other figures would take longer to read than all of the check takes.
    let counts = |line: &&str| {
        let ours = line.starts_with("fido_relay_ceremon") && !line.contains("_bucket{");
        let now = ["fido_relay_ceremonies_open ", "fido_relay_ceremonies_watched "];
        *line == "# EOF\n" || ours && !now.iter().any(|gauge| line.starts_with(gauge))
    };
    let counted: String = played.figures.split_inclusive('\n').filter(counts).collect();
    let figures = MetricSamples::read(&counted);
    let sum = |name: &str| figures.sum(&format!("fido_relay_ceremonies_{name}_total"), &[]);
    let (opened, taken_up, closed) = (sum("opened"), sum("taken_up"), sum("closed"));
    if opened + taken_up != closed {
        broken.push(format!(
            "I11: {opened} opened and {taken_up} taken up, nothing is open, and {closed} closed"
        ));
    }
    let woken = |ceremony: &Ceremony| {
        let facts = ceremony.history.iter().filter(|fact| fact.kind == FactKind::Woken);
        facts.map(|fact| fact.device).collect::<Vec<_>>()
    };
    for ceremony in &played.stored {
        let devices = woken(ceremony);
        let each: BTreeSet<_> =
            devices.iter().map(|device| device.map(|id| id.to_string())).collect();
        if each.len() != devices.len() || ceremony.suppressed && !devices.is_empty() {
            broken.push(format!("{} woke {devices:?}", ceremony.request.id));
        }
    }
    let facts: usize = played.stored.iter().map(|ceremony| woken(ceremony).len()).sum();
    if facts as u64 > played.wakes {
        broken.push(format!("{facts} wakes are noted, and {} were taken", played.wakes));
    }
    broken.extend(told::differences(&played.entries, &played.stored));
    broken.extend(told::miscounted(&played.stored, &figures, played.only_life));
    broken
}

#[test]
fn whatever_befalls_the_relay_it_keeps_its_promises() {
    let first = number("SIMULATION_FIRST", 0);
    let seeds = number("SIMULATION_SEEDS", SEEDS);
    let end = first + seeds;
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failed.lock().unwrap().len() >= 5 {
                        return;
                    }
                    let broken = std::panic::catch_unwind(|| broken_by(seed, seeds == 1));
                    let broken = broken.unwrap_or_else(|_| vec!["it panicked".to_owned()]);
                    if !broken.is_empty() {
                        failed.lock().unwrap().push((seed, broken));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    let mut report = String::new();
    for (seed, broken) in &failed {
        report.push_str(&format!(
            "seed {seed}: {broken:#?}\nagain: SIMULATION_FIRST={seed} SIMULATION_SEEDS=1 \
            cargo test --test it whatever_befalls_the_relay -- --nocapture\n"
        ));
    }
    assert!(failed.is_empty(), "{report}");
}

/// The comparison of facts and journal can fail: each fact in turn is left out of its record.
#[test]
fn a_fact_that_is_left_out_is_missed() {
    let mut happened = BTreeSet::new();
    for seed in 0..300 {
        let played = play::play(seed);
        for (at, ceremony) in played.stored.iter().enumerate() {
            for (nth, fact) in ceremony.history.iter().enumerate() {
                // These have no entry in the journal.
                if matches!(fact.kind, FactKind::Previewed | FactKind::Lost) {
                    continue;
                }
                let mut stored = played.stored.clone();
                stored[at].history.remove(nth);
                let differs = !told::differences(&played.entries, &stored).is_empty();
                let name = format!("{:?}", fact.kind);
                let name = name.split(' ').next().unwrap().to_owned();
                assert!(differs, "{name} of {} in seed {seed}", ceremony.request.id);
                happened.insert(name);
            }
        }
    }
    // No prompt limit is reached here: suppressions have a table of their own.
    assert!(happened.len() >= 9, "{happened:?}");
}

#[test]
fn a_seed_plays_the_same_again() {
    for seed in 0..20 {
        let tell = || {
            let played = play::play(seed);
            // Names that are drawn afresh have no part in what happens.
            let events = played.history.iter().map(|event| match event {
                history::Event::Wrote { at, key, .. } => format!("{at:?} {key}"),
                history::Event::Accepted { ceremony, device, .. } => format!("{ceremony} {device}"),
                other => format!("{other:?}"),
            });
            events.collect::<Vec<_>>()
        };
        assert_eq!(tell(), tell(), "seed {seed}");
    }
}
