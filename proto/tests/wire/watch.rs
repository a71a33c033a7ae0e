//! What watchers are told, as it goes over the wire.

use fido_relay_proto::http::Status;
use fido_relay_proto::watch::{EventTicket, WatchEvent};
use fido_relay_proto::{Outcome, Phase, Reason, Step};
use insta::assert_snapshot;

fn event(step: Step, phase: Phase, status: Status, reason: Option<Reason>) -> WatchEvent {
    WatchEvent { seq: 7, step, at: "2026-01-31T12:00:00.042Z".to_owned(), status, phase, reason }
}

#[test]
fn events_are_on_the_wire_what_they_were() {
    let ended =
        |outcome, reason| event(Step::Closed, Phase::Closed, Status::Ended(outcome), reason);
    let events = [
        event(Step::Opened, Phase::Offered, Status::Pending, None),
        event(Step::Opened, Phase::Preparing, Status::Pending, None),
        event(Step::Sent, Phase::Offered, Status::Pending, None),
        event(Step::Delivered, Phase::Offered, Status::Pending, None),
        event(Step::Claimed, Phase::Preparing, Status::Pending, None),
        event(Step::Challenged, Phase::Challenged, Status::Pending, None),
        event(Step::Card, Phase::Challenged, Status::Pending, None),
        event(Step::Verifying, Phase::Verifying, Status::Pending, None),
        ended(Outcome::Succeeded, None),
        ended(Outcome::Denied, Some(Reason::NotMe)),
        ended(Outcome::Failed, Some(Reason::Card(609))),
    ];
    let lines: Vec<_> = events
        .iter()
        .map(|event| {
            let json = serde_json::to_string(event).unwrap();
            assert_eq!(&serde_json::from_str::<WatchEvent>(&json).unwrap(), event);
            json
        })
        .collect();
    assert_snapshot!(lines.join("\n"), @r#"
{"seq":7,"step":"opened","at":"2026-01-31T12:00:00.042Z","status":"pending","phase":"offered"}
{"seq":7,"step":"opened","at":"2026-01-31T12:00:00.042Z","status":"pending","phase":"preparing"}
{"seq":7,"step":"sent","at":"2026-01-31T12:00:00.042Z","status":"pending","phase":"offered"}
{"seq":7,"step":"delivered","at":"2026-01-31T12:00:00.042Z","status":"pending","phase":"offered"}
{"seq":7,"step":"claimed","at":"2026-01-31T12:00:00.042Z","status":"pending","phase":"preparing"}
{"seq":7,"step":"challenged","at":"2026-01-31T12:00:00.042Z","status":"pending","phase":"challenged"}
{"seq":7,"step":"card","at":"2026-01-31T12:00:00.042Z","status":"pending","phase":"challenged"}
{"seq":7,"step":"verifying","at":"2026-01-31T12:00:00.042Z","status":"pending","phase":"verifying"}
{"seq":7,"step":"closed","at":"2026-01-31T12:00:00.042Z","status":"succeeded","phase":"closed"}
{"seq":7,"step":"closed","at":"2026-01-31T12:00:00.042Z","status":"denied","phase":"closed","reason":"not_me"}
{"seq":7,"step":"closed","at":"2026-01-31T12:00:00.042Z","status":"failed","phase":"closed","reason":"card_609"}
"#);
}

#[test]
fn an_event_ticket_is_on_the_wire_what_it_was_and_prints_nothing() {
    let ticket = EventTicket { ticket: "evt_canary".to_owned(), expires_in: 30 };
    let json = serde_json::to_string(&ticket).unwrap();
    assert_snapshot!(json, @r#"{"ticket":"evt_canary","expires_in":30}"#);
    assert_eq!(serde_json::from_str::<EventTicket>(&json).unwrap(), ticket);
    assert!(!format!("{ticket:?}").contains("canary"));
}

#[test]
fn an_event_may_gain_fields() {
    let json = r#"{"seq":1,"step":"opened","at":"","status":"pending","phase":"offered","new":1}"#;
    assert_eq!(serde_json::from_str::<WatchEvent>(json).unwrap().seq, 1);
}
