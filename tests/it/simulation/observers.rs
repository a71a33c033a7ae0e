//! The observers of a simulated world, as they work today but for their files and queues, over all
//! lives of the relay: what they say of a ceremony is held against its facts.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use fido_relay::audit::{Trail, Writing};
use fido_relay::backends::embedded::MemoryStore;
use fido_relay::ceremony::{Ceremony, Event};
use fido_relay::ports::{BoxFuture, Happening, SecurityEvent, Witness};
use fido_relay::webhooks;
use fido_relay_proto::{CeremonyId, EventId};
use serde_json::Value;

use crate::facts::{self, Written};
use crate::support::figures::Figures;

/// What was written of one ceremony.
#[derive(Debug, Default)]
struct Seen {
    trail: Trail,
    written: Vec<Written>,
    beside: Vec<Value>,
    told: BTreeMap<EventId, String>,
    /// Its opening, or a look at it while it was open, was told.
    met: bool,
    /// It was first met as one that had ended: the figures take it as counted in an earlier life.
    /// It may also be one whose opening was of unknown fate, and which ended before it was met.
    met_ended: bool,
}

#[derive(Debug, Default)]
pub(super) struct Observers {
    seen: Mutex<BTreeMap<CeremonyId, Seen>>,
}

fn writing() -> &'static Writing {
    static WRITING: OnceLock<Writing> = OnceLock::new();
    WRITING.get_or_init(|| {
        // Within a simulated life there is a runtime already.
        let made = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(crate::audit::signer(&MemoryStore::new()))
        });
        Writing { signer: made.join().unwrap(), receipts: false }
    })
}

impl Observers {
    /// `found`: without its cause, and perhaps nothing new.
    fn see(&self, ceremony: &Ceremony, cause: Option<&Event>, found: bool) {
        let mut seen = self.seen.lock().unwrap();
        let seen = seen.entry(ceremony.request.id).or_default();
        let (opened, ended) = (cause.is_none() && !found, ceremony.closed().is_some());
        seen.met_ended |= found && ended && !seen.met;
        seen.met |= opened || found || ended;
        let known = seen.trail.bodies().len();
        seen.trail.see(ceremony, cause, found, writing());
        let fresh = &seen.trail.bodies()[known..];
        for (left, body) in (0..fresh.len()).rev().zip(fresh) {
            // The entry of the change itself is the last one.
            let late = found || left > 0;
            seen.written.push(Written { entry: serde_json::from_str(body).unwrap(), late });
        }
        seen.told.extend(webhooks::of_ceremony(ceremony));
    }

    /// Whether the figures may lack this ceremony.
    fn is_uncounted(&self, ceremony: &Ceremony) -> bool {
        let seen = self.seen.lock().unwrap();
        seen.get(&ceremony.request.id).is_some_and(|seen| seen.met_ended)
    }

    /// How what was written differs from what the facts of the stored ceremonies make.
    pub(super) fn differences(&self, stored: &[Ceremony]) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let none = Seen::default();
        let mut broken = Vec::new();
        for ceremony in stored {
            let seen = seen.get(&ceremony.request.id).unwrap_or(&none);
            broken.extend(facts::in_the_trail(ceremony, &seen.written, writing()));
            broken.extend(facts::beside_the_trail(ceremony, &seen.beside, writing()));
            let told = facts::told(ceremony);
            if told != seen.told {
                broken.push(format!("{:?} was told, the facts make {told:?}", seen.told));
            }
        }
        broken
    }
}

impl Witness for Observers {
    fn changed<'a>(
        &'a self,
        ceremony: &'a Ceremony,
        cause: Option<&'a Event>,
    ) -> BoxFuture<'a, ()> {
        self.see(ceremony, cause, false);
        Box::pin(std::future::ready(()))
    }

    fn found<'a>(&'a self, ceremony: &'a Ceremony) -> BoxFuture<'a, ()> {
        self.see(ceremony, None, true);
        Box::pin(std::future::ready(()))
    }

    fn noted<'a>(&'a self, event: &'a SecurityEvent) -> BoxFuture<'a, ()> {
        if let Happening::NotMe { ceremony_id, .. } | Happening::Silenced { ceremony_id, .. } =
            &event.what
        {
            let body = event.entry();
            let mut seen = self.seen.lock().unwrap();
            let beside = &mut seen.entry(*ceremony_id).or_default().beside;
            beside.push(serde_json::from_str(&body).unwrap());
        }
        Box::pin(std::future::ready(()))
    }
}

/// How the counts of a life differ from those that the facts make. A life that was not the only
/// one counted a part of them.
pub(super) fn miscounted(
    observers: &Observers,
    stored: &[Ceremony],
    figures: &Figures,
    only_life: bool,
) -> Vec<String> {
    let sums = |counts: &dyn Fn(&Ceremony) -> bool| {
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        let those = stored.iter().filter(|ceremony| counts(ceremony));
        for (series, grown) in those.flat_map(facts::counted) {
            *sums.entry(series).or_default() += grown;
        }
        sums
    };
    let facts = sums(&|_| true);
    let certain = sums(&|ceremony| only_life && !observers.is_uncounted(ceremony));
    let mut counted: BTreeMap<String, f64> = BTreeMap::new();
    let mut taken_up = 0.0;
    for sample in &figures.0 {
        let name = sample.name.trim_start_matches("fido_relay_");
        if name == "ceremonies_taken_up_total" {
            taken_up = sample.value;
            continue;
        }
        let labels: Vec<_> = sample.labels.iter().collect();
        counted.insert(facts::series(name, &labels), sample.value);
    }
    let mut broken = Vec::new();
    let series: std::collections::BTreeSet<_> = facts.keys().chain(counted.keys()).collect();
    for series in series {
        let of = |counts: &BTreeMap<String, f64>| counts.get(series).copied().unwrap_or_default();
        let (is, most, least) = (of(&counted), of(&facts), of(&certain));
        // A ceremony whose opening was not acknowledged counts as taken up, not as opened.
        let unopened = if series.contains("opened") { taken_up } else { 0.0 };
        if is > most + 1e-6 || is + unopened < least - 1e-6 {
            broken.push(format!("{series}: {is} was counted, the facts make {least} to {most}"));
        }
    }
    broken
}
