//! What was told of the ceremonies of a simulated world: the journal and the counts, held against the
//! facts of the stored records.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fido_relay::core::ceremony::Ceremony;
use fido_relay::journal::Journal;
use fido_relay::metrics::{self, Count};
use serde_json::Value;

use crate::support::metric_samples::MetricSamples;

/// How the journal's entries differ from the facts of the stored ceremonies: each fact has its
/// entries once, in the order of the history, and nothing else is said of a ceremony.
pub(super) fn differences(entries: &[String], stored: &[Ceremony]) -> Vec<String> {
    let mut said: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for entry in entries {
        let value: Value = serde_json::from_str(entry).unwrap();
        let of = value.get("ceremony").or_else(|| value.get("ceremony_id"));
        let Some(id) = of.and_then(Value::as_str) else { continue };
        said.entry(id.to_owned()).or_default().push(entry);
    }
    let journal = crate::support::journal();
    let mut broken = Vec::new();
    for ceremony in stored {
        let is = said.remove(&ceremony.request.id.to_string()).unwrap_or_default();
        let should = entries_of(&journal, ceremony);
        if is != should {
            broken.push(format!("{is:#?} was said, the facts make {should:#?}"));
        }
    }
    broken.extend(said.into_keys().map(|id| format!("{id} is not stored, and was told of")));
    broken
}

fn entries_of(journal: &Journal, ceremony: &Ceremony) -> Vec<String> {
    let facts = ceremony.history.iter();
    facts.flat_map(|fact| journal.entries(ceremony, fact)).collect()
}

/// How the counts of a life differ from those that the facts make. A life that was not the only
/// one counted a part of them.
pub(super) fn miscounted(
    stored: &[Ceremony],
    figures: &MetricSamples,
    only_life: bool,
) -> Vec<String> {
    let mut facts: BTreeMap<String, f64> = BTreeMap::new();
    for (series, grown) in stored.iter().flat_map(counted) {
        *facts.entry(series).or_default() += grown;
    }
    let mut counted: BTreeMap<String, f64> = BTreeMap::new();
    for sample in &figures.0 {
        let name = sample.name.trim_start_matches("fido_relay_");
        if name != "ceremonies_taken_up_total" {
            let labels: Vec<_> = sample.labels.iter().collect();
            counted.insert(series(name, &labels), sample.value);
        }
    }
    let mut broken = Vec::new();
    for series in facts.keys().chain(counted.keys()).collect::<BTreeSet<_>>() {
        let of = |counts: &BTreeMap<String, f64>| counts.get(series).copied().unwrap_or_default();
        let (is, should) = (of(&counted), of(&facts));
        if is > should + 1e-6 || only_life && is < should - 1e-6 {
            broken.push(format!("{series}: {is} was counted, the facts make {should}"));
        }
    }
    broken
}

/// The counts of a ceremony by its facts: each series with what it grew by.
fn counted(ceremony: &Ceremony) -> Vec<(String, f64)> {
    let facts = ceremony.history.iter();
    let counts = facts.flat_map(|fact| metrics::counts(ceremony, fact));
    counts.flat_map(|count| grown(&count)).collect()
}

fn grown(count: &Count) -> Vec<(String, f64)> {
    let timed = |name: &str, labels: &[_], took: Duration| {
        let sum = (series(&format!("{name}_seconds_sum"), labels), took.as_secs_f64());
        vec![sum, (series(&format!("{name}_seconds_count"), labels), 1.0)]
    };
    match count {
        Count::Opened(labels) => vec![(series("ceremonies_opened_total", labels), 1.0)],
        Count::Closed(labels) => vec![(series("ceremonies_closed_total", labels), 1.0)],
        Count::Reason(labels) => vec![(series("ceremony_reasons_total", labels), 1.0)],
        Count::Duration(labels, took) => timed("ceremony_duration", labels, *took),
        Count::WakeAck(labels, took) => timed("ceremony_wake", labels, *took),
        Count::Step(labels, took) => timed("ceremony_step", labels, *took),
    }
}

/// One name for a series, however its labels are ordered.
fn series<N: AsRef<str>, V: AsRef<str>>(name: &str, labels: &[(N, V)]) -> String {
    let mut labels: Vec<_> = labels
        .iter()
        .map(|(label, value)| format!("{}={}", label.as_ref(), value.as_ref()))
        .collect();
    labels.sort();
    format!("fido_relay_{name}{{{}}}", labels.join(","))
}
