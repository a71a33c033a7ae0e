//! What the facts of a stored ceremony make, held against what the observers wrote of it at the
//! time: audit entries, webhooks, counts. The observers work from events and from what they
//! remember; the facts are the record's own.
//!
//! Where the two may differ is [`DECIDED`], with the reasons. Every other difference is a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fido_relay::audit::{self, Writing};
use fido_relay::ceremony::{Ceremony, Kind, State};
use fido_relay::metrics::{self, Count};
use fido_relay::webhooks;
use fido_relay_proto::EventId;
use serde_json::Value;

/// One entry of the audit log, and whether it was written by something else than its own change:
/// then its observer did not see what happened, and says what the record lets it guess.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) entry: Value,
    pub(crate) late: bool,
}

/// Where what was written differs from what the fact makes.
#[derive(Clone, Debug)]
struct Difference<'a> {
    of: &'a Written,
    /// What the fact makes.
    fact: &'a Value,
    member: &'a str,
}

/// A reason, and the differences that it explains.
type Decided = (&'static str, fn(&Difference<'_>) -> bool);

/// The differences between an entry and its fact that are known and meant.
const DECIDED: [Decided; 7] = [
    ("a wrong code was entered with the time of the public step before it, or of the end", |it| {
        it.member == "at" && it.fact["event"] == "wrong_code"
    }),
    (
        "the last wrong code was entered with the end that it brought about, without its device",
        |it| {
            it.member == "device"
                && it.fact["event"] == "wrong_code"
                && it.of.entry["device"].is_null()
        },
    ),
    ("an entry says that it was written later; a fact has only the time when it happened", |it| {
        it.member == "recovered"
    }),
    ("of what the event alone knew, a late entry says nothing", |it| {
        let members = ["device", "card_code", "attempt", "completed_by"];
        it.of.late && it.of.entry[it.member].is_null() && members.contains(&it.member)
    }),
    ("a late entry names the device whose answer was accepted, whichever device it was", |it| {
        let guessed = ["challenged", "card", "closed"].map(Value::from);
        it.of.late && it.member == "device" && guessed.contains(&it.fact["event"])
    }),
    ("an end was entered with the device only if it was a \"no\" or followed an answer", |it| {
        it.member == "device" && it.fact["event"] == "closed" && it.of.entry["device"].is_null()
    }),
    ("an end by time was entered as of the device whose \"no\" came after it", |it| {
        let by_time = ["expired", "indeterminate"].map(Value::from);
        it.member == "device"
            && it.fact["event"] == "closed"
            && by_time.contains(&it.fact["outcome"])
    }),
];

/// What the facts make of a ceremony: its trail, and the entries beside it.
fn entries(ceremony: &Ceremony, writing: &Writing) -> (Vec<Value>, Vec<Value>) {
    let bodies = ceremony.history.iter().flat_map(|fact| audit::bodies(ceremony, fact, writing));
    let entries = bodies.map(|body| serde_json::from_str::<Value>(&body).unwrap());
    entries.partition(|entry| entry.get("ceremony").is_some())
}

/// Which entry of its ceremony it is.
fn name(entry: &Value) -> String {
    match entry["nth"].as_u64() {
        Some(nth) => format!("{} {nth}", entry["event"].as_str().unwrap()),
        None => entry["event"].as_str().unwrap().to_owned(),
    }
}

/// Where a record's history and its state tell different ends.
fn in_the_record(ceremony: &Ceremony) -> Vec<String> {
    let history = &ceremony.history;
    let answered = history.iter().find_map(|fact| match fact.kind {
        Kind::Answered { attempt, digest, .. } => Some((attempt, fact.device?, digest)),
        _ => None,
    });
    let ended = history.last().and_then(|fact| match fact.kind {
        Kind::Closed { outcome, reason } => Some((outcome, reason, fact.at)),
        _ => None,
    });
    let closed = ceremony.closed();
    let end = closed.map(|closed| (closed.outcome, closed.reason, closed.at));
    let accepted = match &ceremony.state {
        State::Verifying { challenge, answer, digest, .. } => {
            Some((challenge.attempt, answer.device, *digest))
        }
        _ => closed.and_then(|closed| closed.accepted),
    };
    if (answered, ended) == (accepted, end) {
        return Vec::new();
    }
    vec![format!("{answered:?} and {ended:?} happened, {accepted:?} and {end:?} is stored")]
}

/// How the trail that was written differs from the one that the facts make.
pub(crate) fn in_the_trail(
    ceremony: &Ceremony,
    written: &[Written],
    writing: &Writing,
) -> Vec<String> {
    let (facts, _) = entries(ceremony, writing);
    let mut broken = in_the_record(ceremony);
    let mut breaks = |what: String| broken.push(format!("{}: {what}", ceremony.request.id));
    let names: BTreeSet<_> = facts.iter().map(name).collect();
    for Written { entry, .. } in written.iter().filter(|it| !names.contains(&name(&it.entry))) {
        breaks(format!("written, and no fact: {entry}"));
    }
    for fact in &facts {
        let mut those = written.iter().filter(|it| name(&it.entry) == name(fact));
        let Some(of) = those.next() else {
            // Once the right code was typed, the record's state tells of no wrong one any more.
            if fact["event"] != "wrong_code" {
                breaks(format!("a fact, and not written: {fact}"));
            }
            continue;
        };
        if those.next().is_some() {
            breaks(format!("written twice: {fact}"));
        }
        let members = [of.entry.as_object().unwrap(), fact.as_object().unwrap()];
        let members: BTreeSet<_> = members.iter().flat_map(|entry| entry.keys()).collect();
        for member in members {
            let difference = Difference { of, fact, member };
            let differs = of.entry[member] != fact[member];
            if differs && !DECIDED.iter().any(|(_, meant)| meant(&difference)) {
                breaks(format!("{member}: {of:?} was written, the fact makes {fact}"));
            }
        }
    }
    // A late wrong code stands behind the steps that were written with it.
    let order = |of: Vec<&Value>| -> Vec<String> {
        of.into_iter().map(name).filter(|name| !name.starts_with("wrong_code")).collect()
    };
    let (is, should) =
        (order(written.iter().map(|it| &it.entry).collect()), order(facts.iter().collect()));
    if broken.is_empty() && is != should {
        broken.push(format!("{}: written as {is:?}, happened as {should:?}", ceremony.request.id));
    }
    broken
}

/// How the alarms and suppressions that were written differ from those that the facts make. A
/// node wrote them only if its own commit was acknowledged, and a suppression with the time at
/// which it wrote: what is missing is no fault, what is there must be a fact.
pub(crate) fn beside_the_trail(
    ceremony: &Ceremony,
    written: &[Value],
    writing: &Writing,
) -> Vec<String> {
    let (_, facts) = entries(ceremony, writing);
    let timeless = |entry: &Value| {
        let mut entry = entry.clone();
        if entry["event"] == "silenced" {
            entry["at"].take();
        }
        entry
    };
    let facts: Vec<_> = facts.iter().map(timeless).collect();
    let strange = written.iter().filter(|entry| !facts.contains(&timeless(entry)));
    strange.map(|entry| format!("written beside the trail, and no fact: {entry}")).collect()
}

/// The webhooks of a ceremony by its facts.
pub(crate) fn told(ceremony: &Ceremony) -> BTreeMap<EventId, String> {
    let facts = ceremony.history.iter();
    facts.flat_map(|fact| webhooks::of_fact(&ceremony.request, fact)).collect()
}

/// The counts of a ceremony by its facts: each series with what it grew by.
pub(crate) fn counted(ceremony: &Ceremony) -> Vec<(String, f64)> {
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
        Count::Step(labels, took) => timed("ceremony_step", labels, *took),
    }
}

/// One name for a series, however its labels are ordered.
pub(crate) fn series<N: AsRef<str>, V: AsRef<str>>(name: &str, labels: &[(N, V)]) -> String {
    let mut labels: Vec<_> = labels
        .iter()
        .map(|(label, value)| format!("{}={}", label.as_ref(), value.as_ref()))
        .collect();
    labels.sort();
    format!("fido_relay_{name}{{{}}}", labels.join(","))
}
