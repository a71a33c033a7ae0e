//! The simulated phone against the real relay: every way in which it can misbehave, and what
//! becomes of the ceremony.

use fido_relay_proto::device::{DeclineReason, FrameErrorCode};
use fido_relay_proto::http::{OpenedCeremony, Status};
use fido_relay_proto::{Outcome, Phase, Reason, Step};
use fido_relay_rig::phone::{Decision, DropAt, Faults, PhoneEvent, SecondAnswer, StopReason};
use rustix::process::Signal;
use serde_json::json;

use crate::support::child::{ChildProcess, fido_relay, run_with};
use crate::support::relay::{Initiator, TestPhone, TestRelay};

/// Each moment at which a simulated phone can break off.
pub(crate) const DROPS: [DropAt; 8] = [
    DropAt::OfferReceived,
    DropAt::OfferAcked,
    DropAt::ClaimSent,
    DropAt::ChallengeReceived,
    DropAt::ChallengeAcked,
    DropAt::CardPresent,
    DropAt::AnswerSent,
    DropAt::Accepted,
];

async fn register(bank: &Initiator, phone: &TestPhone) -> OpenedCeremony {
    let opened = bank.open(&json!({ "type": "registration", "username": "ada" })).await;
    phone.types(&opened);
    opened
}

/// One registration with a phone of these faults: how it ended, and why.
async fn ends(faults: Faults) -> (Status, Option<Reason>) {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let paired = relay.pair(&bank, "ada").await;
    let phone = relay.connect(paired, faults).await;
    let opened = register(&bank, &phone).await;
    let closed = bank.outcome(opened.id).await;
    (closed.status, closed.reason)
}

#[tokio::test]
async fn a_phone_that_breaks_off_at_any_moment_still_comes_to_the_end() {
    for at in DROPS {
        let (status, reason) = ends(Faults::drops(&[at])).await;
        assert_eq!((status, reason), (Status::Ended(Outcome::Succeeded), None), "{at:?}");
    }
}

#[tokio::test]
async fn a_phone_that_breaks_off_at_every_moment_in_turn_still_comes_to_the_end() {
    let all = [
        DropAt::OfferReceived,
        DropAt::OfferAcked,
        DropAt::ClaimSent,
        DropAt::ChallengeReceived,
        DropAt::AnswerSent,
        DropAt::Accepted,
    ];
    let (status, _) = ends(Faults::drops(&all)).await;
    assert_eq!(status, Status::Ended(Outcome::Succeeded));
}

#[tokio::test]
async fn faults_of_card_and_person_end_as_they_should() {
    let wrong = |wrong_codes| Faults { wrong_codes, ..Faults::none() };
    for (faults, outcome, reason) in [
        (Faults::tag_lost(), Outcome::Succeeded, None),
        (Faults::card_error(607), Outcome::Succeeded, None),
        (wrong(2), Outcome::Succeeded, None),
        (wrong(3), Outcome::Failed, Some(Reason::WrongCode)),
        (Faults::wrong_pin(), Outcome::Failed, Some(Reason::PinFailed)),
        (Faults::no_credential(), Outcome::Failed, Some(Reason::NoCredential)),
        (Faults::card_error(606), Outcome::Failed, Some(Reason::CardFull)),
        (Faults::card_error(609), Outcome::Failed, Some(Reason::Card(609))),
        (Faults::declines(DeclineReason::Declined), Outcome::Denied, Some(Reason::Declined)),
        (Faults::declines(DeclineReason::NotMe), Outcome::Denied, Some(Reason::NotMe)),
    ] {
        let about = format!("{faults:?}");
        assert_eq!(ends(faults).await, (Status::Ended(outcome), reason), "{about}");
    }
}

#[tokio::test]
async fn without_acks_nothing_counts_as_delivered_and_no_challenge_comes() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let paired = relay.pair(&bank, "ada").await;
    let faults = Faults { withhold_acks: true, ..Faults::none() };
    let mut phone = relay.connect(paired, faults).await;
    let opened = register(&bank, &phone).await;
    let is_preview = |event: &PhoneEvent| matches!(event, PhoneEvent::Offered { offer, .. } if offer.preview.is_some());
    phone.until(is_preview).await;
    let view = bank.read(opened.id).await;
    assert_eq!(view.phase, Phase::Offered);
    assert!(view.progress.iter().all(|entry| entry.step != Step::Delivered));
}

#[tokio::test]
async fn a_code_typed_alone_takes_up_the_ceremony_that_rings_on_no_phone() {
    let relay = TestRelay::start_with(|config| config.prompts.ringing = 1).await;
    let bank = relay.initiator().await;
    let mut phone = relay.phone(&bank, "ada").await;
    let ringing = bank.open(&json!({ "type": "registration", "username": "ada" })).await;
    phone.until(|event| matches!(event, PhoneEvent::Offered { .. })).await;
    let silent = bank.open(&json!({ "type": "registration", "username": "ada" })).await;
    phone.handle.type_code(silent.code.clone().unwrap()).await;
    let event = phone.until(|event| matches!(event, PhoneEvent::Offered { .. })).await;
    let PhoneEvent::Offered { offer, .. } = event else { unreachable!() };
    assert_eq!(offer.ceremony_id, silent.id);
    assert!(!offer.preview.unwrap().rang);
    // The person confirms: they typed it.
    let closed = bank.outcome(silent.id).await;
    assert_eq!(closed.status, Status::Ended(Outcome::Succeeded));
    assert_eq!(bank.read(ringing.id).await.phase, Phase::Offered);
}

#[tokio::test]
async fn a_code_typed_under_another_prompt_takes_up_its_own_ceremony_over_a_broken_line() {
    let relay = TestRelay::start_with(|config| config.prompts.ringing = 1).await;
    let bank = relay.initiator().await;
    let paired = relay.pair(&bank, "ada").await;
    let mut phone = relay.connect(paired, Faults::drops(&[DropAt::ClaimSent])).await;
    let ringing = bank.open(&json!({ "type": "registration", "username": "ada" })).await;
    let silent = bank.open(&json!({ "type": "registration", "username": "ada" })).await;
    let code = Decision::Code(silent.code.clone().unwrap());
    phone.until(|event| matches!(event, PhoneEvent::Offered { .. })).await;
    phone.handle.decide(ringing.id, code).await;
    let closed = bank.outcome(silent.id).await;
    assert_eq!(closed.status, Status::Ended(Outcome::Succeeded));
    assert_eq!(bank.read(ringing.id).await.phase, Phase::Offered);
}

#[tokio::test]
async fn the_same_answer_again_gets_the_same_acknowledgement() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let paired = relay.pair(&bank, "ada").await;
    let faults = Faults { second_answer: Some(SecondAnswer::Same), ..Faults::none() };
    let mut phone = relay.connect(paired, faults).await;
    let opened = register(&bank, &phone).await;
    let mut attempts = Vec::new();
    while attempts.len() < 2 {
        let event = phone.until(|event| matches!(event, PhoneEvent::Accepted { .. })).await;
        let PhoneEvent::Accepted { attempt, .. } = event else { unreachable!() };
        attempts.push(attempt);
    }
    assert_eq!(attempts[0], attempts[1]);
    let closed = bank.outcome(opened.id).await;
    assert_eq!(closed.status, Status::Ended(Outcome::Succeeded));
}

#[tokio::test]
async fn another_answer_after_the_first_is_refused_and_changes_nothing() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let paired = relay.pair(&bank, "ada").await;
    let faults = Faults { second_answer: Some(SecondAnswer::Different), ..Faults::none() };
    let mut phone = relay.connect(paired, faults).await;
    let opened = register(&bank, &phone).await;
    let event = phone.until(|event| matches!(event, PhoneEvent::Refused { .. })).await;
    let PhoneEvent::Refused { code, ceremony_id, .. } = event else { unreachable!() };
    assert_eq!(ceremony_id, Some(opened.id));
    assert!(
        matches!(code, FrameErrorCode::AlreadyAnswered | FrameErrorCode::AlreadyClosed),
        "{code:?}"
    );
    let closed = bank.outcome(opened.id).await;
    assert_eq!(closed.status, Status::Ended(Outcome::Succeeded));
}

#[tokio::test]
async fn a_person_can_say_no_with_the_card_already_asked_for() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let paired = relay.pair(&bank, "ada").await;
    let faults = Faults { withhold_card: true, ..Faults::none() };
    let mut phone = relay.connect(paired, faults).await;
    let opened = register(&bank, &phone).await;
    phone.until(|event| matches!(event, PhoneEvent::Challenged { .. })).await;
    phone.handle.decide(opened.id, Decision::NotMe).await;
    let closed = bank.outcome(opened.id).await;
    assert_eq!(closed.status, Status::Ended(Outcome::Denied));
    assert_eq!(closed.reason, Some(Reason::NotMe));
}

async fn stopped(phone: &mut TestPhone) -> StopReason {
    let event = phone.until(|event| matches!(event, PhoneEvent::Stopped(_))).await;
    let PhoneEvent::Stopped(why) = event else { unreachable!() };
    why
}

#[tokio::test]
async fn the_newest_socket_of_a_device_wins_and_the_older_stays_away() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let paired = relay.pair(&bank, "ada").await;
    let mut older = relay.connect(paired.clone(), Faults::none()).await;
    let newer = relay.connect(paired, Faults::none()).await;
    assert_eq!(stopped(&mut older).await, StopReason::Replaced);
    let opened = register(&bank, &newer).await;
    let closed = bank.outcome(opened.id).await;
    assert_eq!(closed.status, Status::Ended(Outcome::Succeeded));
}

#[tokio::test]
async fn a_revoked_phone_is_sent_away_for_good() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let mut phone = relay.phone(&bank, "ada").await;
    let path = format!("/v1/devices/{}", phone.handle.device_id());
    assert!(bank.delete(&path).await.status().is_success());
    assert_eq!(stopped(&mut phone).await, StopReason::Revoked);
}

/// Runs `fido-relay phone` with this on its standard input, to this exit code; all that it wrote.
async fn run_phone(code: i32, arguments: &[&str], input: &str) -> String {
    let mut command = fido_relay(&[&["phone"], arguments].concat());
    run_with(command.env_clear().env("RUST_BACKTRACE", "1"), input).await.with_code(code)
}

#[tokio::test]
async fn the_command_pairs_registers_and_comes_back_with_the_same_card() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("phone.json");
    let state = state.to_str().unwrap();
    let pairing = bank.pairing("ada").await;

    let opened = bank.open(&json!({ "type": "registration", "username": "ada" })).await;
    let code = opened.code.clone().unwrap();
    let arguments = ["--state", state, "--pair", &pairing.uri, "--once"];
    let text = run_phone(0, &arguments, &format!("{code}\n")).await;
    assert!(text.contains("Example Bank wants to register this card"), "{text}");
    assert!(text.contains("succeeded"), "{text}");

    let opened = bank.open(&json!({ "type": "authentication", "username": "ada" })).await;
    let code = opened.code.clone().unwrap();
    let text = run_phone(0, &["--state", state, "--once", "--code", &code], "").await;
    assert!(text.contains("the card holds 1 credential."), "{text}");
    let closed = bank.outcome(opened.id).await;
    assert_eq!(closed.status, Status::Ended(Outcome::Succeeded));

    bank.open(&json!({ "type": "authentication", "username": "ada" })).await;
    let text = run_phone(3, &["--state", state, "--once", "--not-me"], "").await;
    assert!(text.contains("denied (not_me)"), "{text}");
}

#[tokio::test]
async fn a_signal_ends_the_command_in_order() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let folder = tempfile::tempdir().unwrap();
    let state = paired(&bank, folder.path()).await;
    for signal in [Signal::INT, Signal::TERM] {
        let mut phone = ChildProcess::start(&mut fido_relay(&["phone", "--state", &state]));
        phone.prints("Ctrl-C ends").await;
        phone.signal(signal);
        assert!(phone.exit().await.stdout().ends_with("\nStopped.\n"), "{signal:?}");
    }
}

#[tokio::test]
async fn a_phone_that_cannot_be_kept_uses_up_no_link() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let folder = tempfile::tempdir().unwrap();
    let pairing = bank.pairing("ada").await;
    let nowhere = folder.path().join("missing/phone.json");
    let pair = ["--pair", &pairing.uri, "--state"];
    let text = run_phone(1, &[&pair[..], &[nowhere.to_str().unwrap()]].concat(), "").await;
    assert!(
        text.contains("cannot be read or written") && text.contains("another --state"),
        "{text}"
    );

    let state = folder.path().join("phone.json");
    std::fs::write(&state, "{}").unwrap();
    let text = run_phone(1, &["--state", state.to_str().unwrap()], "").await;
    assert!(text.contains("is not the state of a phone. To go on, name another --state"), "{text}");
    std::fs::remove_file(&state).unwrap();
    let text = run_phone(0, &[&pair[..], &[state.to_str().unwrap()]].concat(), "").await;
    assert!(text.contains("Paired with"), "{text}");
}

#[tokio::test]
async fn the_command_says_what_to_do_without_a_pairing() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("phone.json");
    let text = run_phone(2, &["--state", state.to_str().unwrap()], "").await;
    assert!(text.contains("pair this phone first with --pair"), "{text}");
}

/// A paired phone's state file.
async fn paired(bank: &Initiator, folder: &std::path::Path) -> String {
    let state = folder.join("phone.json").to_str().unwrap().to_owned();
    let pairing = bank.pairing("ada").await;
    let text = run_phone(0, &["--state", &state, "--pair", &pairing.uri], "").await;
    assert!(text.contains("Standard input is closed"), "{text}");
    assert!(text.ends_with("Stopped.\n"), "{text}");
    state
}

#[tokio::test]
async fn closed_standard_input_ends_the_command_after_what_is_under_way() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let folder = tempfile::tempdir().unwrap();
    let state = paired(&bank, folder.path()).await;

    // A prompt that waits for a code that cannot come any more.
    let opened = bank.open(&json!({ "type": "registration", "username": "ada" })).await;
    let text = run_phone(0, &["--state", &state, "--code-from", "-"], "").await;
    assert!(text.contains("the phone ends"), "{text}");

    // The last line of the input is a code: its ceremony comes to its end.
    let code = format!("{}\n", opened.code.as_ref().unwrap());
    let text = run_phone(0, &["--state", &state, "--code-from", "-"], &code).await;
    assert!(text.contains(&format!("{}: succeeded.", opened.id)), "{text}");

    let text = run_phone(1, &["--state", &state, "--once"], "").await;
    assert!(text.contains("standard input was closed before a ceremony ended"), "{text}");
}

#[tokio::test]
async fn a_pairing_link_that_was_used_says_what_to_do() {
    let relay = TestRelay::start().await;
    let bank = relay.initiator().await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("phone.json");
    let pairing = bank.pairing("ada").await;
    let arguments = ["--state", state.to_str().unwrap(), "--pair", &pairing.uri];
    run_phone(0, &arguments, "").await;
    let text = run_phone(1, &arguments, "").await;
    assert!(text.contains("fido-relay pairing create --username NAME"), "{text}");
}
