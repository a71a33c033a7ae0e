//! Every state meets every event: `table.txt` is the whole of the rules before the deadline, and
//! the last test their change at it.
//!
//! How to read a cell: what is answered, and after `>` where the ceremony went.
//!
//! | cell | answer |
//! | --- | --- |
//! | `.` | ignored, nothing changed |
//! | `+` | done, and there is something new to store |
//! | `ok` | done, nothing new to store |
//! | `=` | the answer is acknowledged |
//! | `!elsewhere` `!challenge` `!answered` `!closed` `!code 2` | refused, see `Refusal` |
//!
//! `begin` and `complete` at the end are the calls that must follow.

use super::*;

const TABLE: &str = include_str!("table.txt");

fn after(mut ceremony: Ceremony, events: &[Event]) -> Ceremony {
    for event in events {
        ceremony.step(OPENED, event.clone());
    }
    ceremony
}

/// Every state, each as the phone brought it about.
fn states(binding: Binding) -> Vec<(&'static str, Ceremony)> {
    let offered = || open(binding);
    let preparing = || after(offered(), &[claim(PHONE, FIRST, CODE)]);
    let challenged = || after(preparing(), &[begun(FIRST)]);
    let verifying = || after(challenged(), &[answer(PHONE, FIRST, SIGNED)]);
    let mut states = vec![
        ("offered", offered()),
        ("preparing", preparing()),
        ("challenged", challenged()),
        ("verifying", verifying()),
        (
            "closed, answered",
            after(verifying(), &[completed(FIRST, Verdict::Rejected(Reason::UpstreamRejected))]),
        ),
        ("closed, unanswered", after(challenged(), &[Event::Cancel])),
    ];
    match binding {
        Binding::Code => states.push(("silent", open_suppressed(binding))),
        Binding::None => {
            // There is no code to wait for.
            states.remove(0);
            states.push(("silent", after(open_suppressed(binding), &[begun(FIRST)])));
        }
    }
    states
}

fn events() -> Vec<(&'static str, Event)> {
    use DeclineReason::{Declined, NotMe};
    let begin_failed = |attempt| Event::BeginFailed { attempt, reason: Reason::UpstreamFull };
    let acked = |of| Event::Acked { device: PHONE, of };
    let approved = || Verdict::Approved(approval());
    vec![
        ("sent", Event::Sent { device: PHONE }),
        ("lost", Event::Lost { device: PHONE }),
        ("woken", Event::Woken { device: PHONE }),
        ("previewed", Event::Previewed { device: PHONE }),
        ("offer acked", acked(AckOf::Offer)),
        ("challenge acked", acked(AckOf::Challenge)),
        ("closed acked", acked(AckOf::Closed)),
        ("code right", claim(PHONE, OTHER, CODE)),
        ("code wrong", claim(PHONE, OTHER, "000000")),
        ("tablet's code right", claim(TABLET, OTHER, CODE)),
        ("tablet's code wrong", claim(TABLET, OTHER, "000000")),
        ("begun", begun(FIRST)),
        ("begun, other call", begun(OTHER)),
        ("begin failed", begin_failed(FIRST)),
        ("begin failed, other", begin_failed(OTHER)),
        ("card present", card(PHONE, None)),
        ("card 600", card(PHONE, Some(600))),
        ("card 602", card(PHONE, Some(602))),
        ("card 606", card(PHONE, Some(606))),
        ("card 608", card(PHONE, Some(608))),
        ("card 610", card(PHONE, Some(610))),
        ("tablet's card 608", card(TABLET, Some(608))),
        ("answer", answer(PHONE, FIRST, SIGNED)),
        ("answer, other bytes", answer(PHONE, FIRST, FORGED)),
        ("answer, other call", answer(PHONE, OTHER, SIGNED)),
        ("tablet's answer", answer(TABLET, FIRST, SIGNED)),
        ("approved", completed(FIRST, approved())),
        ("approved, other call", completed(OTHER, approved())),
        ("rejected", completed(FIRST, Verdict::Rejected(Reason::UpstreamRejected))),
        ("session lost", completed(FIRST, Verdict::SessionLost)),
        ("full", completed(FIRST, Verdict::Full)),
        ("not asked", completed(FIRST, Verdict::NotAsked)),
        ("unknown", completed(FIRST, Verdict::Unknown)),
        ("declined", decline(PHONE, Declined)),
        ("not me", decline(PHONE, NotMe)),
        ("tablet declined", decline(TABLET, Declined)),
        ("tablet: not me", decline(TABLET, NotMe)),
        ("cancel", Event::Cancel),
        ("drop", Event::Drop),
        ("tick", Event::Tick),
        ("recover", Event::Recover { by: RESTARTED }),
    ]
}

fn place(ceremony: &Ceremony) -> String {
    match ceremony.closed() {
        Some(Closed { outcome, reason: Some(reason), .. }) => format!("{outcome:?}/{reason}"),
        Some(Closed { outcome, reason: None, .. }) => format!("{outcome:?}"),
        None => format!("{:?}", ceremony.phase()),
    }
    .to_lowercase()
}

/// Puts one event to one state and writes down what came of it.
fn cell(ceremony: &Ceremony, now: UnixMillis, event: Event) -> String {
    let mut ceremony = ceremony.clone();
    let (before, from) = (json(&ceremony), place(&ceremony));
    let Transition { reply, facts, effect } = ceremony.step(now, event);
    let changed = !facts.is_empty();
    assert_eq!(changed, json(&ceremony) != before, "facts tell whether to store");
    let mut cell = match (reply, changed) {
        (Reply::Ignored, false) => ".".to_owned(),
        (Reply::Ignored, true) => ". ".to_owned(),
        (Reply::Done, true) => "+".to_owned(),
        (Reply::Done, false) => "ok".to_owned(),
        (Reply::Accepted { attempt: FIRST }, _) => "=".to_owned(),
        (Reply::Accepted { .. }, _) => "= the wrong attempt".to_owned(),
        (Reply::Refused(refusal), _) => match refusal {
            Refusal::WrongCode { left } => format!("!code {left}"),
            Refusal::ClaimedElsewhere => "!elsewhere".to_owned(),
            Refusal::NotChallenged => "!challenge".to_owned(),
            Refusal::AlreadyAnswered => "!answered".to_owned(),
            Refusal::AlreadyClosed => "!closed".to_owned(),
        },
    };
    let to = place(&ceremony);
    if from != to {
        cell.push_str(&format!(">{to}"));
    }
    match effect {
        Some(Effect::Begin { attempt }) => {
            let current = matches!(&ceremony.state,
                State::Preparing { attempt: current, .. } if *current == attempt);
            cell.push_str(if current { " begin" } else { " begin something else" });
        }
        Some(Effect::Complete { attempt: FIRST }) => cell.push_str(" complete"),
        Some(Effect::Complete { .. }) => cell.push_str(" complete something else"),
        None => {}
    }
    cell.trim_end().to_owned()
}

#[test]
fn every_event_in_every_state_does_what_the_table_says() {
    let mut table = String::new();
    for (title, binding) in [("binding code", Binding::Code), ("binding none", Binding::None)] {
        let states = states(binding);
        let mut line = |first: &str, cells: Vec<String>| {
            let mut text = format!("{first:21}");
            for cell in cells {
                text.push_str(&format!("| {cell:32} "));
            }
            table.push_str(text.trim_end());
            table.push('\n');
        };
        line(title, states.iter().map(|(name, _)| (*name).to_owned()).collect());
        for (name, event) in events() {
            let now = OPENED.plus_millis(LIFE_MS - 1);
            // A later look at verification must not run into its own limit.
            let at = |ceremony: &Ceremony| {
                ceremony.wakes_at().map_or(now, |due| UnixMillis(due.0 - 1)).min(now)
            };
            let cells =
                states.iter().map(|(_, ceremony)| cell(ceremony, at(ceremony), event.clone()));
            line(name, cells.collect());
        }
        table.push('\n');
    }
    for (line, (is, said)) in table.lines().zip(TABLE.lines()).enumerate() {
        assert_eq!(is, said, "line {} of table.txt", line + 1);
    }
    assert_eq!(table, TABLE);
}

#[test]
fn at_the_deadline_every_event_finds_a_closed_ceremony_except_the_verdict_that_is_waited_for() {
    for binding in [Binding::Code, Binding::None] {
        for (state, ceremony) in states(binding) {
            let Some(due) = ceremony.wakes_at() else { continue };
            let verifying = ceremony.phase() == Phase::Verifying;
            for (name, event) in events() {
                let waited_for =
                    matches!(&event, Event::Completed { attempt, .. } if *attempt == FIRST);
                if verifying && waited_for {
                    continue;
                }
                let mut late = ceremony.clone();
                let Transition { reply, facts, effect } = late.step(due, event.clone());
                let closed = late.closed().map(|closed| (closed.outcome, closed.reason));
                let expected = if verifying {
                    (Outcome::Indeterminate, Some(Reason::UpstreamUnknown))
                } else {
                    (Outcome::Expired, Some(Reason::Deadline))
                };
                assert_eq!((closed, effect), (Some(expected), None), "{state}: {name}");
                let [Fact { kind: FactKind::Closed { outcome, reason }, .. }] = facts[..] else {
                    panic!("{state}: {name} tells {facts:?}")
                };
                assert_eq!((outcome, reason), expected, "{state}: {name}");
                assert_eq!(late.step(due, event).reply, reply, "{state}: {name}, once more");
            }
        }
    }
}
