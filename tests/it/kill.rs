//! The relay killed with SIGKILL at every step of a ceremony, started again, and held to what it
//! promised: [`checker`] judges what the actors outside saw, and what is stored.
//!
//! One round of every step for every type is part of the suite. `KILL_ROUNDS=20` in the environment
//! plays so many, and as many times more kills at moments of chance:
//! `KILL_ROUNDS=20 cargo test --test it kill::`.

mod checker;
mod history;
mod leak;
mod outside;
mod place;
mod run;
mod told;

use std::path::Path;
use std::time::Duration;

use fido_relay::fault_point::Point;
use fido_relay::security::random;
use fido_relay_proto::{CeremonyType, Outcome};
use futures::{StreamExt as _, stream};

use run::{Kill, Run};

/// Relays under way at once in each test.
const AT_ONCE: usize = 2;
/// Ceremonies with kills at moments of chance in one round, and kills in each.
const CHANCES: usize = 6;
const KILLS: usize = 3;
/// Where the moments lie: a ceremony without a kill is over well before.
const LATEST_MOMENT: Duration = Duration::from_millis(250);

const TYPES: [CeremonyType; 3] =
    [CeremonyType::Registration, CeremonyType::Authentication, CeremonyType::Approval];

fn rounds() -> usize {
    let text = std::env::var_os("KILL_ROUNDS").map(|text| text.into_string().unwrap());
    text.map_or(1, |text| text.parse().expect("KILL_ROUNDS is a number"))
}

/// How a ceremony must end that was at this step when the relay was killed.
fn must_end(at: Point) -> Outcome {
    match at {
        Point::Received
        | Point::Stored
        | Point::Answered
        | Point::Offered
        | Point::Woken
        | Point::Claimed
        | Point::BeginInFlight
        | Point::Begun
        | Point::ChallengeSent
        | Point::AnswerReceived
        | Point::Closed
        | Point::Notified => Outcome::Succeeded,
        // Who was to complete it is stored and gone: whether the call was made cannot be known.
        Point::AnswerStored
        | Point::CompletionIntentStored
        | Point::CompletionInFlight
        | Point::UpstreamAnswered => Outcome::Indeterminate,
    }
}

/// Kills the relay at every point under a phone with a socket, or one that is woken and pulls.
async fn killed_at_every_point(ceremony_type: CeremonyType, sleeps: bool) {
    let points = (0..rounds()).flat_map(|_| Point::ALL);
    // Between a wake and its fact: a second wake may come, and no second ceremony.
    let points = points.chain(sleeps.then_some(Point::Woken));
    stream::iter(points)
        .map(|point| async move {
            let run = Run::new(ceremony_type, vec![Kill::At(point)], sleeps);
            let history = run.play().await;
            let broken = checker::broken(&history);
            let told = format!("{ceremony_type:?} killed at {}\n{history:#?}", point.name());
            assert!(broken.is_empty(), "{broken:#?}\n{told}");
            assert_eq!(checker::outcomes(&history), [must_end(point)], "{told}");
        })
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
}

#[tokio::test]
async fn a_registration_keeps_every_promise_wherever_the_relay_is_killed() {
    killed_at_every_point(CeremonyType::Registration, false).await;
}

#[tokio::test]
async fn an_authentication_keeps_every_promise_wherever_the_relay_is_killed() {
    killed_at_every_point(CeremonyType::Authentication, false).await;
}

#[tokio::test]
async fn an_approval_keeps_every_promise_wherever_the_relay_is_killed() {
    killed_at_every_point(CeremonyType::Approval, false).await;
}

#[tokio::test]
async fn a_sleeping_phone_keeps_every_promise_wherever_the_relay_is_killed() {
    killed_at_every_point(CeremonyType::Authentication, true).await;
}

#[tokio::test]
async fn every_promise_is_kept_when_the_relay_is_killed_again_and_again_at_any_moment() {
    let latest = u64::try_from(LATEST_MOMENT.as_micros()).unwrap();
    let moment = move || Kill::After(Duration::from_micros(random::below(latest)));
    stream::iter(0..rounds() * CHANCES)
        .map(|nth| async move {
            let ceremony_type = TYPES[nth % TYPES.len()];
            let kills: Vec<_> = std::iter::repeat_with(moment).take(KILLS).collect();
            let history = Run::new(ceremony_type, kills.clone(), false).play().await;
            let broken = checker::broken(&history);
            assert!(broken.is_empty(), "{ceremony_type:?}, {kills:?}: {broken:#?}\n{history:#?}");
            assert_eq!(checker::outcomes(&history).len(), 1, "{history:#?}");
        })
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
}

/// Compiles the module alone, as a release build does, and looks for what must not be in it.
#[test]
fn a_release_build_has_no_fault_points() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fault_point.rs");
    let compiled = |assertions: &str| {
        let directory = tempfile::tempdir().unwrap();
        let object = directory.path().join("fault_point.o");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let done = std::process::Command::new(rustc)
            .args(["--edition", "2024", "--crate-type", "lib", "--emit", "obj", "-C"])
            .arg(format!("debug-assertions={assertions}"))
            .arg("-o")
            .args([&object, &source])
            .status();
        assert!(done.unwrap().success());
        std::fs::read(object).unwrap()
    };
    let holds = |object: &[u8], text: &str| {
        object.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let words = ["fault point reached", "FAULT_POINT", "answer_stored"];
    let (with, without) = (compiled("on"), compiled("off"));
    for word in words {
        assert!(holds(&with, word), "a build for tests has no {word}: this test proves nothing");
        assert!(!holds(&without, word), "a release build has {word}");
    }
}
