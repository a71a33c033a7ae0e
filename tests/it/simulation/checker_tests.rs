//! The checker against histories in which one thing is wrong: a checker that finds nothing proves
//! nothing.

use aws_lc_rs::digest::{SHA256, digest};
use fido_relay::core::ceremony::{
    Begun, Ceremony, Code, Event as Step, Request, TxBinding, UpstreamSession, Verdict,
    VerifiedAnswer,
};
use fido_relay_proto::{
    AttemptId, CeremonyId, ClientId, DeviceId, NodeId, Outcome, PlainText, Reason, UnixMillis,
};
use serde_json::value::RawValue;

use super::checker::check;
use super::history::Event;
use super::play::Climate;
use super::user_of;
use crate::support::actions::sign_in_request;

const ID: CeremonyId = CeremonyId::from_bytes([1; 16]);
const BANK: ClientId = ClientId::from_bytes([1; 16]);
const PHONE: DeviceId = DeviceId::from_bytes([1; 16]);
const TABLET: DeviceId = DeviceId::from_bytes([2; 16]);
const STRANGER: DeviceId = DeviceId::from_bytes([3; 16]);
const ATTEMPT: AttemptId = AttemptId::from_bytes([4; 16]);
const NODE: NodeId = NodeId::from_bytes([5; 16]);
const CREDENTIAL: &str = r#"{"id":"AQ"}"#;

fn opened() -> Ceremony {
    let request = Request { id: ID, client_id: BANK, ..sign_in_request(UnixMillis(0), 60_000) };
    Ceremony::open(request, Code("123456".to_owned()), ATTEMPT, None)
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn claim() -> Step {
    Step::Claim { device: PHONE, attempt: ATTEMPT, code: "123456".to_owned(), same_network: None }
}

fn begun() -> Step {
    let begun = Begun {
        session: UpstreamSession("sealed".to_owned()),
        challenge: "challenge-1".to_owned(),
        origin: String::new(),
        public_key: raw("{}"),
        tx_binding: TxBinding::Relay,
    };
    Step::Begun { attempt: ATTEMPT, begun: Box::new(begun) }
}

fn answer(by: DeviceId) -> Step {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, CREDENTIAL.as_bytes()).as_ref());
    Step::Answer {
        device: by,
        attempt: ATTEMPT,
        credential: raw(CREDENTIAL),
        digest: hash,
        by: NODE,
    }
}

fn approved() -> Verdict {
    Verdict::Approved(VerifiedAnswer {
        cred_hash: "hash".to_owned(),
        user_verified: None,
        evidence: None,
    })
}

fn wrote(at: u64, ceremony: &Ceremony) -> Event {
    let record = Some(serde_json::to_vec(ceremony).unwrap());
    Event::Wrote { life: 1, at: UnixMillis(at), key: format!("default.{ID}"), record }
}

/// A ceremony as it should go, with the number of the step after which something is put in.
fn story(after: usize, wrong: &[Event]) -> Vec<Event> {
    let mut ceremony = opened();
    let mut history = vec![Event::Started { life: 1 }, wrote(0, &ceremony)];
    history.push(Event::Opened { ceremony: ID, by: BANK, of: BANK });
    let step = |ceremony: &mut Ceremony, at: u64, step: Step| {
        ceremony.step(UnixMillis(at), step);
        wrote(at, ceremony)
    };
    history.push(Event::Claiming { ceremony: ID, device: PHONE, right: true });
    history.push(step(&mut ceremony, 1_000, claim()));
    history.push(Event::Begun {
        username: PlainText::new("ada").unwrap(),
        session: "session-1".to_owned(),
        challenge: "challenge-1".to_owned(),
    });
    history.push(step(&mut ceremony, 2_000, begun()));
    history.push(challenged(PHONE));
    history.push(step(&mut ceremony, 3_000, answer(PHONE)));
    history.push(accepted(PHONE, CREDENTIAL));
    history.push(asked());
    history.push(Event::Said { session: "session-1".to_owned(), verdict: approved(), lost: false });
    let completed = Step::Completed { attempt: ATTEMPT, verdict: approved() };
    history.push(step(&mut ceremony, 4_000, completed));
    history.push(Event::ToldClosed { ceremony: ID, outcome: Outcome::Succeeded });
    let at = history.len().min(after);
    history.splice(at..at, wrong.iter().cloned());
    history.push(Event::Healed { fresh: false });
    history.push(Event::Rested);
    history
}

fn challenged(device: DeviceId) -> Event {
    Event::Challenged { ceremony: ID, device, challenge: "challenge-1".to_owned() }
}

fn accepted(device: DeviceId, credential: &str) -> Event {
    let credential = credential.to_owned();
    Event::Accepted { ceremony: ID, device, attempt: ATTEMPT, credential }
}

fn asked() -> Event {
    Event::Asked { session: "session-1".to_owned(), credential: CREDENTIAL.to_owned() }
}

fn read(outcome: Option<Outcome>, found: bool) -> Event {
    Event::Read { ceremony: ID, outcome, found, asked: 3 }
}

const END: usize = usize::MAX;

#[track_caller]
fn finds(what: &str, history: &[Event]) {
    let broken = check(Climate::Calm, history, &user_of);
    assert!(broken.iter().any(|found| found.contains(what)), "{what:?} is not in {broken:?}");
}

#[test]
fn a_ceremony_as_it_should_go_is_found_good() {
    let found = check(Climate::Calm, &story(END, &[]), &user_of);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_second_outcome_is_found() {
    let mut other = opened();
    other.step(UnixMillis(5_000), Step::Cancel);
    finds("I1", &story(END, &[wrote(5_000, &other)]));
    finds("I1", &story(END, &[read(Some(Outcome::Cancelled), true)]));
    finds("I1", &story(END, &[Event::ToldClosed { ceremony: ID, outcome: Outcome::Expired }]));
}

#[test]
fn a_second_completion_is_found() {
    finds("I2", &story(END, &[asked()]));
}

#[test]
fn a_completion_of_an_answer_that_was_never_stored_is_found() {
    let credential = r#"{"id":"Ag"}"#.to_owned();
    let asked = Event::Asked { session: "session-1".to_owned(), credential };
    finds("that is not stored", &story(END, &[asked]));
    let stray = Event::Asked { session: "session-9".to_owned(), credential: String::new() };
    finds("is of no ceremony", &story(END, &[stray]));
}

#[test]
fn a_success_that_nobody_approved_is_found() {
    let mut history = story(END, &[]);
    history.retain(|event| !matches!(event, Event::Said { .. }));
    finds("I3", &history);
}

#[test]
fn an_answer_of_a_stranger_or_of_another_device_is_found() {
    for device in [STRANGER, TABLET] {
        let mut ceremony = opened();
        ceremony.step(UnixMillis(1_000), claim());
        ceremony.step(UnixMillis(2_000), begun());
        ceremony.step(UnixMillis(3_000), answer(PHONE));
        let mut verifying = serde_json::to_value(&ceremony).unwrap();
        verifying["state"]["verifying"]["answer"]["device"] = device.to_string().into();
        let key = format!("default.{ID}");
        let record = Some(serde_json::to_vec(&verifying).unwrap());
        let wrong = Event::Wrote { life: 1, at: UnixMillis(3_000), key, record };
        finds("I4", &story(8, &[wrong]));
    }
}

#[test]
fn a_ceremony_given_to_another_client_is_found() {
    let by = ClientId::from_bytes([2; 16]);
    finds("I5", &story(END, &[Event::Opened { ceremony: ID, by, of: BANK }]));
}

#[test]
fn a_ceremony_that_is_forgotten_is_found() {
    finds("I6", &story(END, &[read(None, false)]));
    let removed =
        Event::Wrote { life: 1, at: UnixMillis(9_000), key: format!("default.{ID}"), record: None };
    finds("I6", &story(END, &[removed]));
    let mut never = story(END, &[]);
    never.retain(|event| !matches!(event, Event::Wrote { .. }));
    finds("I6", &never);
}

#[test]
fn a_challenge_before_the_code_or_to_somebody_else_is_found() {
    let mut unclaimed = story(END, &[]);
    unclaimed.retain(|event| !matches!(event, Event::Claiming { .. }));
    finds("I8", &unclaimed);
    finds("I8", &story(END, &[challenged(TABLET)]));
    finds("I8", &story(END, &[challenged(STRANGER)]));
}

#[test]
fn a_ceremony_that_does_not_end_is_found() {
    let stuck = [Event::Started { life: 1 }, wrote(0, &opened()), Event::Rested];
    finds("I10", &stuck);
}

#[test]
fn a_step_after_the_deadline_is_found() {
    let mut late = opened();
    late.request.deadline = UnixMillis(900_000);
    late.step(UnixMillis(61_000), claim());
    late.request.deadline = UnixMillis(60_000);
    finds("after the deadline", &[wrote(0, &opened()), wrote(61_000, &late)]);
    let mut early = opened();
    early.request.deadline = UnixMillis(1_000);
    early.step(UnixMillis(1_000), Step::Tick);
    early.request.deadline = UnixMillis(60_000);
    finds("before its deadline", &[wrote(0, &opened()), wrote(1_000, &early)]);
}

#[test]
fn an_acknowledged_answer_that_does_not_count_is_found() {
    finds("forgotten", &story(END, &[accepted(TABLET, CREDENTIAL)]));
    finds("forgotten", &story(END, &[accepted(PHONE, r#"{"id":"Ag"}"#)]));
}

#[test]
fn an_answer_that_is_taken_and_never_completed_is_found() {
    let mut history = story(END, &[]);
    history.retain(|event| !matches!(event, Event::Asked { .. } | Event::Said { .. }));
    finds("never completed", &history);
}

#[test]
fn a_verdict_that_did_not_become_the_outcome_is_found() {
    let mut history = story(END, &[]);
    for event in &mut history {
        if let Event::Said { verdict, .. } = event {
            *verdict = Verdict::Rejected(Reason::UpstreamRejected);
        }
    }
    finds("became", &history);
}

#[test]
fn a_local_verdict_that_is_not_committed_with_its_answer_is_found() {
    let mut history = story(END, &[]);
    for event in &mut history {
        if matches!(event, Event::Said { .. }) {
            let verdict = Verdict::Rejected(Reason::UpstreamRejected);
            *event = Event::Judged { session: "session-1".to_owned(), verdict };
        }
    }
    finds("without what was found of it", &history);
    finds("otherwise than its answer was judged", &history);
}

#[test]
fn a_phone_that_shows_the_wrong_thing_is_found() {
    let shows =
        |prompt| Event::Shows { ceremony: ID, device: PHONE, prompt, at: UnixMillis(30_000) };
    let begin = [
        Event::Started { life: 1 },
        wrote(0, &opened()),
        Event::Opened { ceremony: ID, by: BANK, of: BANK },
    ];
    let good = check(Climate::Calm, &[&begin[..], &[shows("offer")]].concat(), &user_of);
    assert!(good.is_empty(), "{good:?}");
    finds("for offer", &[&begin[..], &[shows("nothing")]].concat());
    finds("for the end of", &story(END, &[shows("challenge")]));
}
