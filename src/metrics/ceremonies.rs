//! Counts of ceremonies, made so that they add up.
//!
//! On one node `opened + taken up = closed + open` holds whenever nothing is under way, after a
//! restart and after writes whose fate was unknown too. What is told may come in any order (a phone
//! can be quicker than the teller) and twice, so each ceremony that is open, or was a moment ago,
//! is known here by its id and counted once at each end.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use fido_relay_proto::{Binding, CeremonyId, CeremonyType, Outcome, Step};
use futures::future::{BoxFuture, ready};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::{Counters, Histograms, Labels, counter, counters, seconds};
use crate::ceremony::{Ceremony, Closed, Event, Reply};
use crate::ports::{SecurityEvent, Witness};

/// How long a closed ceremony is remembered: what is told late of it comes within moments. Not by
/// the wall clock, which may be set.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);
/// How many closed ceremonies are remembered at most.
const REMEMBERED: usize = 65_536;

const TYPES: [CeremonyType; 3] =
    [CeremonyType::Registration, CeremonyType::Authentication, CeremonyType::Approval];
const BINDINGS: [Binding; 2] = [Binding::Code, Binding::None];
const OUTCOMES: [Outcome; 7] = [
    Outcome::Succeeded,
    Outcome::Denied,
    Outcome::Rejected,
    Outcome::Failed,
    Outcome::Expired,
    Outcome::Cancelled,
    Outcome::Indeterminate,
];

/// What is known of a ceremony.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Open,
    Ended,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Opened,
    Changed,
    Found,
}

#[derive(Debug)]
pub(super) struct Ceremonies {
    opened: Counters<2>,
    taken_up: Counter,
    closed: Counters<3>,
    reasons: Counters<2>,
    durations: Histograms<1>,
    steps: Histograms<1>,
    events: Counters<2>,
    known: DashMap<CeremonyId, Known>,
    ended: Mutex<VecDeque<(Instant, CeremonyId)>>,
}

impl Ceremonies {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let new = Self {
            opened: counters(registry, "ceremonies_opened", "Ceremonies opened on this node"),
            taken_up: counter(
                registry,
                "ceremonies_taken_up",
                "Ceremonies that were open already when this node met them",
            ),
            closed: counters(registry, "ceremonies_closed", "Ceremonies that came to an outcome"),
            reasons: counters(registry, "ceremony_reasons", "Outcomes that have a reason, by it"),
            durations: seconds(
                registry,
                "ceremony_duration",
                "From opened to closed",
                ceremony_buckets,
            ),
            steps: seconds(
                registry,
                "ceremony_step",
                "From the step before to this one, of closed ceremonies",
                ceremony_buckets,
            ),
            events: counters(registry, "events", "Events taken to their end, by what came of them"),
            known: DashMap::new(),
            ended: Mutex::default(),
        };
        for kind in TYPES {
            for binding in BINDINGS {
                let _ = new.opened.get_or_create_owned(&of_kind(kind, binding));
                for outcome in OUTCOMES {
                    let _ = new.closed.get_or_create_owned(&of_end(kind, binding, outcome));
                }
            }
        }
        new
    }

    fn see(&self, ceremony: &Ceremony, told: Told) {
        let id = ceremony.request.id;
        match (self.known.entry(id), ceremony.closed()) {
            (Entry::Vacant(place), None) => match told {
                Told::Opened => {
                    place.insert(Known::Open);
                    self.count_opened(ceremony);
                }
                Told::Found => {
                    place.insert(Known::Open);
                    self.taken_up.inc();
                }
                // Its opening is about to be told.
                Told::Changed => {}
            },
            (Entry::Vacant(place), Some(closed)) => match told {
                Told::Opened | Told::Changed => {
                    place.insert(Known::Ended);
                    match told {
                        Told::Opened => self.count_opened(ceremony),
                        Told::Changed | Told::Found => drop(self.taken_up.inc()),
                    }
                    self.count_closed(ceremony, closed);
                }
                // Ended in another life of this node, most likely, and counted there. Its opening
                // must not count either, should it be told yet.
                Told::Found => {
                    place.insert(Known::Ended);
                    self.remember(id);
                }
            },
            (Entry::Occupied(mut known), Some(closed)) if *known.get() == Known::Open => {
                known.insert(Known::Ended);
                drop(known);
                self.count_closed(ceremony, closed);
            }
            (Entry::Occupied(_), None | Some(_)) => {}
        }
    }

    fn count_opened(&self, ceremony: &Ceremony) {
        let request = &ceremony.request;
        self.opened.get_or_create(&of_kind(request.ceremony_type, request.binding)).inc();
    }

    fn count_closed(&self, ceremony: &Ceremony, closed: &Closed) {
        let request = &ceremony.request;
        let outcome = closed.outcome;
        let end = of_end(request.ceremony_type, request.binding, outcome);
        self.closed.get_or_create(&end).inc();
        if let Some(reason) = closed.reason {
            let labels = [("outcome", outcome_name(outcome)), ("reason", reason.code().into())];
            self.reasons.get_or_create(&labels).inc();
        }
        let lasted = closed.at.millis_since(request.opened_at);
        let labels = [("outcome", outcome_name(outcome))];
        self.durations.get_or_create(&labels).observe(in_seconds(lasted));
        let steps: Vec<_> = ceremony.progress().collect();
        for pair in steps.windows(2) {
            let [before, after] = pair else { continue };
            let labels = [("step", step_name(after.step))];
            let took = after.at.millis_since(before.at);
            self.steps.get_or_create(&labels).observe(in_seconds(took));
        }
        self.remember(request.id);
    }

    /// Forgets what ended a while ago.
    fn remember(&self, id: CeremonyId) {
        let now = Instant::now();
        let mut gone = Vec::new();
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push_back((now, id));
        while let Some((then, id)) = ended.front().copied() {
            if now - then < REMEMBERED_FOR && ended.len() <= REMEMBERED {
                break;
            }
            ended.pop_front();
            gone.push(id);
        }
        drop(ended);
        for id in gone {
            self.known.remove_if(&id, |_, known| *known == Known::Ended);
        }
    }
}

impl Witness for Ceremonies {
    fn changed<'a>(
        &'a self,
        ceremony: &'a Ceremony,
        cause: Option<&'a Event>,
    ) -> BoxFuture<'a, ()> {
        self.see(ceremony, if cause.is_some() { Told::Changed } else { Told::Opened });
        Box::pin(ready(()))
    }

    fn found<'a>(&'a self, ceremony: &'a Ceremony) -> BoxFuture<'a, ()> {
        self.see(ceremony, Told::Found);
        Box::pin(ready(()))
    }

    fn answered(&self, event: &Event, reply: Reply) {
        let labels = [("event", event.name().into()), ("reply", reply.name().into())];
        self.events.get_or_create(&labels).inc();
    }

    fn noted<'a>(&'a self, _: &'a SecurityEvent) -> BoxFuture<'a, ()> {
        Box::pin(ready(()))
    }
}

/// From a quick tap to the longest ceremony, 10 minutes.
fn ceremony_buckets() -> Histogram {
    Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0])
}

fn in_seconds(millis: u64) -> f64 {
    Duration::from_millis(millis).as_secs_f64()
}

fn of_kind(kind: CeremonyType, binding: Binding) -> Labels<2> {
    [("type", type_name(kind)), ("binding", binding_name(binding))]
}

fn of_end(kind: CeremonyType, binding: Binding, outcome: Outcome) -> Labels<3> {
    let [kind, binding] = of_kind(kind, binding);
    [kind, binding, ("outcome", outcome_name(outcome))]
}

fn type_name(kind: CeremonyType) -> Cow<'static, str> {
    Cow::Borrowed(match kind {
        CeremonyType::Registration => "registration",
        CeremonyType::Authentication => "authentication",
        CeremonyType::Approval => "approval",
    })
}

fn binding_name(binding: Binding) -> Cow<'static, str> {
    Cow::Borrowed(binding.as_str())
}

fn outcome_name(outcome: Outcome) -> Cow<'static, str> {
    Cow::Borrowed(match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Denied => "denied",
        Outcome::Rejected => "rejected",
        Outcome::Failed => "failed",
        Outcome::Expired => "expired",
        Outcome::Cancelled => "cancelled",
        Outcome::Indeterminate => "indeterminate",
    })
}

fn step_name(step: Step) -> Cow<'static, str> {
    Cow::Borrowed(match step {
        Step::Opened => "opened",
        Step::Sent => "sent",
        Step::Delivered => "delivered",
        Step::Claimed => "claimed",
        Step::Challenged => "challenged",
        Step::Card => "card",
        Step::Verifying => "verifying",
        Step::Closed => "closed",
    })
}
