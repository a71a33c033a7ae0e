//! The main job with an external FIDO2 server behind the relay: a real one to the end, and one
//! that follows a script to every other end.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay::config::{HttpUpstream, Upstream, UpstreamUsernames};
use fido_relay_proto::http::{CeremonyView, Status};
use fido_relay_proto::{Outcome, Reason};
use serde_json::{Value, json};

use crate::support::accepting_server::CREATION_OPTIONS;
use crate::support::authority::{Authority, put};
use crate::support::fido2_server::{Fido2Server, Make};
use crate::support::relay::TestRelay;
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

async fn relay_before(url: &str) -> TestRelay {
    let upstream = HttpUpstream::new(url.parse().unwrap());
    TestRelay::start_with(|config| config.upstream = Upstream::Http(upstream)).await
}

/// The claims of a result token, unverified: that is another test's matter.
fn claims(view: &CeremonyView) -> Value {
    let token = view.result.as_deref().unwrap();
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_card_is_registered_signs_in_and_approves_at_an_independent_server() {
    let Some(server) = Fido2Server::start("the relay before a real FIDO2 server", &[]).await else {
        return;
    };
    let relay = relay_before(server.url()).await;
    let bank = relay.initiator().await;
    let phone = relay.phone(&bank, "ada").await;
    let transaction =
        json!({ "title": "Payment", "fields": [{ "label": "To", "value": "Grace" }] });
    let mut cards = Vec::new();
    for (body, tx_binding) in [
        (json!({ "type": "registration", "username": "ada" }), Value::Null),
        (json!({ "type": "authentication", "username": "ada" }), Value::Null),
        // The server made the challenge without knowing the transaction: only the relay vouches.
        (
            json!({ "type": "approval", "username": "ada", "transaction": transaction }),
            "relay".into(),
        ),
    ] {
        let opened = bank.open(&body).await;
        phone.types(&opened);
        let closed = bank.outcome(opened.id).await;
        assert_eq!(closed.status, Status::Ended(Outcome::Succeeded), "{closed:?}");
        let claims = claims(&closed);
        assert_eq!(claims["tx_binding"], tx_binding);
        cards.push(claims["cred_hash"].clone());
    }
    assert!(cards[0].is_string() && cards.iter().all(|card| *card == cards[0]), "{cards:?}");
}

/// TLS of a private authority that demands a certificate of the relay, as in a bank's network.
#[tokio::test]
async fn servers_of_two_makes_that_demand_a_client_certificate_register_and_sign_in() {
    let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
    put(directory.path(), "ca.pem", &authority.certificate.pem());
    for name in ["server", "relay"] {
        let (certificate, key) = authority.pair();
        put(directory.path(), &format!("{name}.pem"), &certificate);
        put(directory.path(), &format!("{name}.key"), &key);
    }
    for make in [Make::Flask, Make::SimpleWebAuthn] {
        let what = format!("the relay before {make:?} with a client certificate");
        let Some(server) = Fido2Server::start_tls(make, &what, directory.path()).await else {
            continue;
        };
        let file = |name| directory.path().join(name);
        let upstream = HttpUpstream {
            ca_file: Some(file("ca.pem")),
            client_cert: Some((file("relay.pem"), file("relay.key"))),
            ..HttpUpstream::new(server.url().parse().unwrap())
        };
        let relay =
            TestRelay::start_with(|config| config.upstream = Upstream::Http(upstream)).await;
        let bank = relay.initiator().await;
        let phone = relay.phone(&bank, "ada").await;
        let mut cards = Vec::new();
        for kind in ["registration", "authentication"] {
            let options = json!({ "userVerification": "required" });
            let opened =
                bank.open(&json!({ "type": kind, "username": "ada", "options": options })).await;
            phone.types(&opened);
            let closed = bank.outcome(opened.id).await;
            assert_eq!(closed.status, Status::Ended(Outcome::Succeeded), "{make:?}: {closed:?}");
            let claims = claims(&closed);
            // A registration has it in the attestation object.
            assert_eq!(claims["amr"], json!(["pop", "user", "pin", "mfa"]), "{make:?} {kind}");
            cards.push(claims["cred_hash"].clone());
        }
        assert!(cards[0].is_string() && cards[0] == cards[1], "{make:?}: {cards:?}");
    }
}

#[tokio::test]
async fn a_username_that_the_server_does_not_accept_is_refused_at_the_opening() {
    let server = ScriptedUpstream::listening(|_, _| Reply::HangUp);
    let upstream = HttpUpstream {
        usernames: UpstreamUsernames::Restricted,
        ..HttpUpstream::new(server.url().parse().unwrap())
    };
    let relay = TestRelay::start_with(|config| config.upstream = Upstream::Http(upstream)).await;
    let bank = relay.initiator().await;
    let refused = json!({ "type": "registration", "username": "ada@example.com" });
    let response = bank.post("/v1/ceremonies", &refused).await;
    assert_eq!(response.status(), 422);
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "unprocessable");
    let detail =
        "/username: the FIDO2 server accepts only letters A to Z, digits, '.', '_' and '-'";
    assert_eq!(problem["detail"], detail);
    bank.open(&json!({ "type": "registration", "username": "ada.l-1_2" })).await;
    assert_eq!(server.connections(), 0);
}

/// How a registration ends when the server answers its completion so; and that it was asked once.
async fn ends_after(complete: Reply) -> (Status, Option<Reason>) {
    let server = ScriptedUpstream::listening(move |_, request| {
        if request.call.ends_with("options") {
            Reply::Answer(Answer::json(200, CREATION_OPTIONS).with("Set-Cookie", "session=1"))
        } else {
            complete.clone()
        }
    });
    let relay = relay_before(&server.url()).await;
    let bank = relay.initiator().await;
    let _phone = relay.phone(&bank, "ada").await;
    let body = json!({ "type": "registration", "username": "ada", "binding": "none" });
    let opened = bank.open(&body).await;
    let closed = bank.outcome(opened.id).await;
    let received = server.received();
    assert_eq!(received.len(), 2, "one begin, one completion: {received:?}");
    assert_eq!(received[1].all("cookie"), ["session=1"]);
    (closed.status, closed.reason)
}

#[tokio::test]
async fn what_the_server_says_of_an_answer_becomes_the_outcome() {
    let says = |status, body: &str| Reply::Answer(Answer::json(status, body));
    let failed = r#"{"status":"failed","errorMessage":"no"}"#;
    for (reply, outcome, reason) in [
        (says(200, r#"{"status":"ok"}"#), Outcome::Succeeded, None),
        (says(200, failed), Outcome::Rejected, Some(Reason::UpstreamRejected)),
        (says(401, failed), Outcome::Rejected, Some(Reason::UpstreamRejected)),
        (says(408, failed), Outcome::Expired, Some(Reason::SessionExpired)),
        (says(507, failed), Outcome::Failed, Some(Reason::UpstreamFull)),
        (says(500, failed), Outcome::Indeterminate, Some(Reason::UpstreamUnknown)),
        (says(200, "<html>"), Outcome::Indeterminate, Some(Reason::UpstreamUnknown)),
        // A gateway's, which is not the server's word about the card.
        (says(429, "<html>"), Outcome::Indeterminate, Some(Reason::UpstreamUnknown)),
        (Reply::HangUp, Outcome::Indeterminate, Some(Reason::UpstreamUnknown)),
    ] {
        let ended = ends_after(reply.clone()).await;
        assert_eq!(ended, (Status::Ended(outcome), reason), "{reply:?}");
    }
}

#[tokio::test]
async fn without_a_challenge_the_ceremony_fails_and_says_why() {
    let says = |status| {
        ScriptedUpstream::listening(move |_, _| {
            Reply::Answer(Answer::json(status, r#"{"status":"failed"}"#))
        })
    };
    let (knows_nobody, refuses, absent) = (says(403), says(400), ScriptedUpstream::refusing());
    for (url, reason) in [
        (knows_nobody.url(), Reason::NoCredential),
        (refuses.url(), Reason::UpstreamRejected),
        (absent.url(), Reason::UpstreamUnavailable),
    ] {
        let relay = relay_before(&url).await;
        let bank = relay.initiator().await;
        let phone = relay.phone(&bank, "ada").await;
        let opened = bank.open(&json!({ "type": "authentication", "username": "ada" })).await;
        phone.types(&opened);
        let closed = bank.outcome(opened.id).await;
        assert_eq!(closed.status, Status::Ended(Outcome::Failed), "{closed:?}");
        assert_eq!(closed.reason, Some(reason));
    }
    for server in [knows_nobody, refuses] {
        assert_eq!(server.received().len(), 1, "a refusal is not asked again");
    }
}
