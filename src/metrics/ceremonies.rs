//! Counters of ceremonies that add up: on an idle node `opened + taken up = closed + open`, after a
//! restart too. Each fact is counted once, by the process that committed it.

use std::borrow::Cow;
use std::time::Duration;

use fido_relay_proto::{Binding, CeremonyType, Outcome, Step, UnixMillis};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Counters, Histograms, Labels, counter, counters, seconds};
use crate::core::ceremony::{Ceremony, Event, Fact, FactKind, Reply};
use crate::ports;

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

#[derive(Debug)]
pub(super) struct CeremonyMetrics {
    opened: Counters<2>,
    taken_up: Counter,
    closed: Counters<3>,
    reasons: Counters<2>,
    durations: Histograms<1>,
    steps: Histograms<1>,
    events: Counters<2>,
    claims: Counters<1>,
    wakes: Counters<2>,
    wake_acks: Histograms<1>,
}

impl CeremonyMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let new = Self {
            opened: counters(registry, "ceremonies_opened", "Ceremonies opened on this node"),
            taken_up: counter(
                registry,
                "ceremonies_taken_up",
                "Open ceremonies that this node took over",
            ),
            closed: counters(registry, "ceremonies_closed", "Ceremonies that came to an outcome"),
            reasons: counters(registry, "ceremony_reasons", "Outcomes that have a reason, by it"),
            durations: seconds(
                registry,
                "ceremony_duration",
                "Time from opened to closed",
                ceremony_buckets,
            ),
            steps: seconds(
                registry,
                "ceremony_step",
                "Time from the previous step to this one, of closed ceremonies",
                ceremony_buckets,
            ),
            events: counters(registry, "events", "Events by result"),
            claims: counters(registry, "claims", "Codes typed on devices, by result"),
            wakes: counters(registry, "wakes", "Wakes by push service and result"),
            wake_acks: seconds(
                registry,
                "ceremony_wake",
                "Time from a push service's acceptance of a wake to the app's acknowledgement",
                ceremony_buckets,
            ),
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
}

impl ports::Counts for CeremonyMetrics {
    fn committed(&self, ceremony: &Ceremony, facts: &[Fact]) {
        for count in facts.iter().flat_map(|fact| counts(ceremony, fact)) {
            match count {
                Count::Opened(labels) => drop(self.opened.get_or_create(&labels).inc()),
                Count::Closed(labels) => drop(self.closed.get_or_create(&labels).inc()),
                Count::Reason(labels) => drop(self.reasons.get_or_create(&labels).inc()),
                Count::Duration(labels, took) => {
                    self.durations.get_or_create(&labels).observe(took.as_secs_f64());
                }
                Count::WakeAck(labels, took) => {
                    self.wake_acks.get_or_create(&labels).observe(took.as_secs_f64());
                }
                Count::Step(labels, took) => {
                    self.steps.get_or_create(&labels).observe(took.as_secs_f64());
                }
            }
        }
    }

    fn taken_up(&self) {
        self.taken_up.inc();
    }

    fn answered(&self, event: &Event, reply: Reply) {
        let labels = [("event", event.name().into()), ("reply", reply.name().into())];
        self.events.get_or_create(&labels).inc();
    }

    fn claim(&self, came_to: &str) {
        self.claims.get_or_create(&[("came_to", came_to.to_owned().into())]).inc();
    }

    fn wake(&self, service: &'static str, came_to: &'static str) {
        let labels = [("service", service.into()), ("came_to", came_to.into())];
        self.wakes.get_or_create(&labels).inc();
    }
}

/// From 0.1 s to the longest ceremony, 10 minutes.
fn ceremony_buckets() -> Histogram {
    Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0])
}

/// One change of an instrument, with its labels.
#[derive(Clone, Debug, PartialEq)]
pub enum Count {
    /// `ceremonies_opened`.
    Opened(Labels<2>),
    /// `ceremonies_closed`.
    Closed(Labels<3>),
    /// `ceremony_reasons`.
    Reason(Labels<2>),
    /// `ceremony_duration`: from opened to closed.
    Duration(Labels<1>, Duration),
    /// `ceremony_wake`: from a wake to the same device's acknowledgement.
    WakeAck(Labels<1>, Duration),
    /// `ceremony_step`: from the public step before to this one.
    Step(Labels<1>, Duration),
}

/// The changes for a fact. The steps of a ceremony are counted at its end.
#[must_use]
pub fn counts(ceremony: &Ceremony, fact: &Fact) -> Vec<Count> {
    let request = &ceremony.request;
    match fact.kind {
        FactKind::Opened => vec![Count::Opened(of_kind(request.ceremony_type, request.binding))],
        FactKind::Closed { outcome, reason } => {
            let [kind, binding] = of_kind(request.ceremony_type, request.binding);
            let ended = ("outcome", outcome_name(outcome));
            let lasted = took(request.opened_at, fact.at);
            let mut counts = vec![
                Count::Closed([kind, binding, ended.clone()]),
                Count::Duration([ended.clone()], lasted),
            ];
            let reason = reason.map(|reason| ("reason", reason.code().into()));
            counts.extend(reason.map(|reason| Count::Reason([ended, reason])));
            let steps: Vec<_> = ceremony.progress().collect();
            counts.extend(steps.windows(2).filter_map(|pair| {
                let [before, after] = pair else { return None };
                Some(Count::Step([("step", step_name(after.step))], took(before.at, after.at)))
            }));
            counts
        }
        FactKind::Delivered => {
            let mut before = ceremony.history.iter().take_while(|known| *known != fact);
            let woken =
                before.find(|woken| woken.kind == FactKind::Woken && woken.device == fact.device);
            let kind = ("type", type_name(request.ceremony_type));
            woken.map(|woken| Count::WakeAck([kind], took(woken.at, fact.at))).into_iter().collect()
        }
        FactKind::Sent
        | FactKind::Lost
        | FactKind::Woken
        | FactKind::Previewed
        | FactKind::WrongCode { .. }
        | FactKind::Claimed
        | FactKind::Challenged { .. }
        | FactKind::Card { .. }
        | FactKind::Answered { .. }
        | FactKind::Suppressed { .. } => Vec::new(),
    }
}

fn took(from: UnixMillis, to: UnixMillis) -> Duration {
    Duration::from_millis(to.millis_since(from))
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
        Step::Woken => "woken",
        Step::Delivered => "delivered",
        Step::Claimed => "claimed",
        Step::Challenged => "challenged",
        Step::Card => "card",
        Step::Verifying => "verifying",
        Step::Closed => "closed",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ceremony::with_every_kind;

    #[test]
    fn an_opening_is_counted_by_itself_and_everything_else_with_the_end() {
        let ceremony = with_every_kind();
        let (ends, others): (Vec<_>, Vec<_>) =
            ceremony.history.iter().partition(|fact| matches!(fact.kind, FactKind::Closed { .. }));
        let counted: Vec<_> = others.iter().flat_map(|fact| counts(&ceremony, fact)).collect();
        let kind = [("type", "approval".into()), ("binding", "code".into())];
        let wake = Count::WakeAck([kind[0].clone()], Duration::from_secs(1));
        assert_eq!(counted, [Count::Opened(kind.clone()), wake]);
        let [kind, binding] = kind;
        let ended = ("outcome", Cow::from("denied"));
        let mut expected = vec![
            Count::Closed([kind, binding, ended.clone()]),
            Count::Duration([ended.clone()], Duration::from_secs(12)),
            Count::Reason([ended, ("reason", "not_me".into())]),
        ];
        let steps = [
            ("sent", 1),
            ("woken", 1),
            ("delivered", 1),
            ("claimed", 3),
            ("challenged", 1),
            ("card", 1),
            ("verifying", 1),
            ("closed", 3),
        ];
        expected.extend(steps.map(|(step, seconds)| {
            Count::Step([("step", step.into())], Duration::from_secs(seconds))
        }));
        assert_eq!(counts(&ceremony, &ends[0]), expected);
    }
}
