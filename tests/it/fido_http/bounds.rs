//! Servers that are slow, endless, torn or absent: what is bounded, and what is never repeated.

use std::time::Duration;

use fido_relay::backends::fido_http::FidoHttp;
use fido_relay::core::ceremony::Verdict;
use fido_relay::ports::Fido as _;
use fido_relay_proto::{CeremonyType, Reason};
use tokio::time::timeout;

use super::{OK, OPTIONS, backend, complete, credential, made, no_cookies, request, settings};
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

const LIMIT: usize = 256 * 1024;

/// The backend with limits so short that a server which hangs costs the test little.
fn impatient(url: &str) -> FidoHttp {
    let mut settings = settings(url);
    settings.begin_limit = Duration::from_millis(150);
    settings.complete_limit = Duration::from_millis(150);
    made(settings)
}

/// An ok answer, with white space up to this many bytes.
fn padded(json: &str, bytes: usize) -> Answer {
    Answer::json(200, format!("{json}{}", " ".repeat(bytes - json.len())))
}

#[tokio::test]
async fn faults_of_the_answer_are_asked_again_once_at_begin_and_never_at_complete() {
    let ok = || Answer::json(200, OPTIONS);
    let faults: [(&str, Reply); 8] = [
        ("hangs", Reply::Hang),
        ("hangs up", Reply::HangUp),
        ("endless", Reply::Endless),
        ("too big", Reply::Answer(padded(OPTIONS, LIMIT + 1))),
        ("cut in the head", Reply::Cut(ok(), 20)),
        ("cut in the body", Reply::Cut(ok(), 120)),
        ("redirect", Reply::Answer(Answer::json(307, OPTIONS).with("Location", "/there"))),
        ("not JSON", Reply::Answer(Answer::json(200, "status: ok"))),
    ];
    for (fault, reply) in faults {
        let script = reply.clone();
        let server = ScriptedUpstream::listening(move |_, _| script.clone());
        let begun = impatient(&server.url()).begin(request(CeremonyType::Authentication)).await;
        assert_eq!(begun.unwrap_err().reason, Reason::UpstreamUnavailable, "{fault}");
        assert_eq!(server.received().len(), 2, "{fault}");

        let server = ScriptedUpstream::listening(move |_, _| reply.clone());
        assert_eq!(complete(&impatient(&server.url())).await, Verdict::Unknown, "{fault}");
        assert_eq!(server.received().len(), 1, "{fault}");
    }
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_read() {
    let server = ScriptedUpstream::listening(|_, _| Reply::Answer(padded(OPTIONS, LIMIT)));
    let begun = backend(&server.url()).begin(request(CeremonyType::Registration)).await.unwrap();
    assert_eq!(begun.public_key.get(), OPTIONS);
    assert!(matches!(complete(&backend(&server.url())).await, Verdict::Approved(_)));
}

#[tokio::test]
async fn an_answer_without_end_is_dropped_at_the_limit_and_not_only_when_time_is_up() {
    let server = ScriptedUpstream::listening(|_, _| Reply::Endless);
    let fault =
        backend(&server.url()).begin(request(CeremonyType::Registration)).await.unwrap_err();
    assert_eq!(fault.detail, format!("the answer has more than {LIMIT} bytes"));
}

#[tokio::test]
async fn a_redirect_is_not_followed_wherever_it_leads() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere =
            ScriptedUpstream::listening(|_, _| Reply::Answer(Answer::json(200, OPTIONS)));
        let target = elsewhere.url();
        let server = ScriptedUpstream::listening(move |_, _| {
            Reply::Answer(Answer::json(status, OPTIONS).with("Location", target.clone()))
        });
        let backend = backend(&server.url());
        assert!(backend.begin(request(CeremonyType::Authentication)).await.is_err());
        assert_eq!(complete(&backend).await, Verdict::Unknown);
        assert_eq!(elsewhere.connections(), 0, "{status}");
    }
}

#[tokio::test]
async fn a_begin_never_outlasts_the_ceremony() {
    let server = ScriptedUpstream::listening(|_, _| Reply::Hang);
    let mut request = request(CeremonyType::Authentication);
    request.time_left_ms = 100;
    let backend = backend(&server.url());
    let begun = timeout(Duration::from_secs(4), backend.begin(request)).await;
    assert_eq!(begun.unwrap().unwrap_err().reason, Reason::UpstreamUnavailable);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_begin_that_nobody_accepts_gives_up_and_a_later_one_works() {
    let mut server = ScriptedUpstream::refusing();
    let backend = backend(&server.url());
    let fault = backend.begin(request(CeremonyType::Authentication)).await.unwrap_err();
    assert_eq!(fault.reason, Reason::UpstreamUnavailable);
    server.listen(|_, _| Reply::Answer(Answer::json(200, OPTIONS)));
    assert!(backend.begin(request(CeremonyType::Authentication)).await.is_ok());
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_completion_that_nobody_accepted_was_not_asked() {
    let server = ScriptedUpstream::refusing();
    let verdict = backend(&server.url())
        .complete(CeremonyType::Authentication, &no_cookies(), &credential(), 50)
        .await
        .verdict;
    assert_eq!(verdict, Verdict::NotAsked);
}

#[tokio::test]
async fn a_refused_completion_is_tried_until_somebody_listens_and_then_sent_once() {
    let mut server = ScriptedUpstream::refusing();
    let backend = backend(&server.url());
    let listens_later = async {
        tokio::task::yield_now().await;
        server.listen(|_, _| Reply::Answer(Answer::json(200, OK)));
        server
    };
    let (verdict, server) = tokio::join!(complete(&backend), listens_later);
    assert!(matches!(verdict, Verdict::Approved(_)), "{verdict:?}");
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_connection_lost_during_the_tls_handshake_counts_as_refused() {
    // The plain server takes the client's first TLS bytes for a strange request and hangs up.
    let server = ScriptedUpstream::listening(|_, _| Reply::HangUp);
    let backend = backend(&format!("https://{}", server.address()));
    let verdict = backend
        .complete(CeremonyType::Authentication, &no_cookies(), &credential(), 200)
        .await
        .verdict;
    assert_eq!(verdict, Verdict::NotAsked);
    assert!(server.connections() > 1, "it must have been tried again");
}

#[tokio::test]
async fn a_completion_goes_over_a_connection_of_its_own() {
    let server = ScriptedUpstream::listening(|_, _| Reply::Answer(Answer::json(200, OPTIONS)));
    let backend = backend(&server.url());
    for _ in 0..3 {
        backend.begin(request(CeremonyType::Authentication)).await.unwrap();
    }
    assert_eq!(server.connections(), 1, "begin calls share a kept connection");
    for _ in 0..3 {
        complete(&backend).await;
    }
    assert_eq!(server.connections(), 4);
}

#[tokio::test]
async fn the_probe_takes_any_http_answer_and_nothing_else() {
    let sick = ScriptedUpstream::listening(|_, _| Reply::Answer(Answer::json(500, "")));
    assert_eq!(backend(&sick.url()).reach().await.unwrap(), 500);
    assert_eq!(sick.received()[0].call, "GET /");
    let silent = ScriptedUpstream::listening(|_, _| Reply::Hang);
    assert!(impatient(&silent.url()).reach().await.is_err());
    let absent = ScriptedUpstream::refusing();
    assert!(backend(&absent.url()).reach().await.is_err());
}
