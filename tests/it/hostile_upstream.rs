//! The whole relay before a FIDO2 server on its worst day: whatever it does at begin or at
//! complete, the ceremony ends as the table of `fido_http` says, the server sees at most one
//! completion, and the next ceremony is none the wiser.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fido_relay::config::{Config, HttpUpstream, Upstream};
use fido_relay_proto::http::{CeremonyView, Status};
use fido_relay_proto::{Outcome, Reason};
use fido_relay_rig::phone::PhoneEvent;
use futures::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::support::accepting_server::{CREATION_OPTIONS, begins, completions, is_completion};
use crate::support::relay::{Initiator, TestPhone, TestRelay};
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

/// A completion's answer as long as real ones, so that it can be cut in many places.
const DONE: &str = r#"{"status":"ok","errorMessage":"","sessionData":"",
    "padding":"................................................................................
................................................................................................"}"#;
/// How long the relay waits for one call.
const PATIENCE: Duration = Duration::from_secs(1);

/// Which of a ceremony's two calls meets the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Begin,
    Complete,
}

fn healthy(call: Call) -> Answer {
    match call {
        Call::Begin => Answer::json(200, CREATION_OPTIONS).with("Set-Cookie", "session=1"),
        Call::Complete => Answer::json(200, DONE.replace('\n', " ")),
    }
}

/// Everything that it may do to a call instead of answering.
fn faults(call: Call) -> Vec<(String, Reply)> {
    let answer = healthy(call);
    let elsewhere = Answer::json(307, &*answer.body).with("Location", "/fidoapi/elsewhere");
    let mut faults = vec![
        ("a byte a second".to_owned(), Reply::Drip(answer.clone(), Duration::from_secs(1))),
        ("hangs".to_owned(), Reply::Hang),
        ("endless".to_owned(), Reply::Endless),
        ("redirect".to_owned(), Reply::Answer(elsewhere)),
    ];
    let whole = answer.text().len();
    assert!(whole > 300, "there is something to cut: {whole} bytes");
    let cuts = (0..whole).step_by(100).chain([whole - 1]);
    faults.extend(cuts.map(|at| (format!("cut at {at}"), Reply::Cut(answer.clone(), at))));
    faults
}

fn impatient(url: &str) -> impl FnOnce(&mut Config) + use<> {
    let upstream = HttpUpstream {
        begin_timeout: PATIENCE,
        complete_timeout: PATIENCE,
        ..HttpUpstream::new(url.parse().unwrap())
    };
    |config| config.upstream = Upstream::Http(upstream)
}

/// One ceremony from its opening to its end. The phone must hear of that end too.
async fn ceremony(bank: &Initiator, phone: &mut TestPhone) -> CeremonyView {
    let body = json!({ "type": "registration", "username": "ada", "binding": "none" });
    let opened = bank.open(&body).await;
    let view = bank.outcome(opened.id).await;
    let Status::Ended(ended) = view.status else { panic!("{view:?}") };
    let told = |event: &PhoneEvent| {
        matches!(event, PhoneEvent::Closed { ceremony_id, outcome, .. }
            if *ceremony_id == opened.id && *outcome == ended)
    };
    // Without a challenge the phone was shown nothing that had to be taken down.
    if view.reason != Some(Reason::UpstreamUnavailable) {
        phone.until(told).await;
    }
    view
}

/// Meets one fault at one call, and then none.
async fn weathers(call: Call, fault: &str, reply: Reply) {
    let sick = Arc::new(AtomicBool::new(true));
    let is_sick = Arc::clone(&sick);
    let server = ScriptedUpstream::listening(move |_, request| {
        let asked = if is_completion(request) { Call::Complete } else { Call::Begin };
        match asked == call && is_sick.load(Ordering::Relaxed) {
            true => reply.clone(),
            false => Reply::Answer(healthy(asked)),
        }
    });
    let relay = TestRelay::start_with(impatient(&server.url())).await;
    let bank = relay.initiator().await;
    let mut phone = relay.phone(&bank, "ada").await;

    let started = Instant::now();
    let closed = ceremony(&bank, &mut phone).await;
    let took = started.elapsed();
    let (outcome, reason, calls) = match call {
        Call::Begin => (Outcome::Failed, Reason::UpstreamUnavailable, (2, 0)),
        Call::Complete => (Outcome::Indeterminate, Reason::UpstreamUnknown, (1, 1)),
    };
    let case = format!("{call:?}, {fault}");
    assert_eq!((closed.status, closed.reason), (Status::Ended(outcome), Some(reason)), "{case}");
    assert_eq!(closed.result, None, "{case}");
    assert_eq!((begins(&server), completions(&server)), calls, "{case}");
    assert!(took < Duration::from_secs(10), "{case}: {took:?}");
    let astray = server.received().iter().any(|request| request.call.contains("elsewhere"));
    assert!(!astray, "{case}: a redirect was followed");

    sick.store(false, Ordering::Relaxed);
    let healthy = ceremony(&bank, &mut phone).await;
    assert_eq!(healthy.status, Status::Ended(Outcome::Succeeded), "after {case}: {healthy:?}");
    let (begins_then, completions_then) = calls;
    let now = (begins(&server), completions(&server));
    assert_eq!(now, (begins_then + 1, completions_then + 1), "after {case}");
    assert!(relay.running.stop().await, "{case}: nothing is left under way");
}

#[tokio::test]
async fn a_begin_that_goes_wrong_fails_the_ceremony_and_no_other() {
    let faults = faults(Call::Begin).into_iter();
    join_all(faults.map(async |(fault, reply)| weathers(Call::Begin, &fault, reply).await)).await;
}

#[tokio::test]
async fn a_completion_that_goes_wrong_is_indeterminate_and_never_made_again() {
    let faults = faults(Call::Complete).into_iter();
    join_all(faults.map(async |(fault, reply)| weathers(Call::Complete, &fault, reply).await))
        .await;
}
