//! What goes to the server and what is taken from its answers, to the byte.

use std::sync::Arc;

use fido_relay::backends::embedded::SystemClock;
use fido_relay::backends::fido_http::{
    ClientCert, FidoHttp, FidoHttpSettings, FidoHttpSettingsError, PathSet, UsernameForm,
};
use fido_relay::core::ceremony::{TxBinding, UpstreamSession, Verdict};
use fido_relay::ports::Fido as _;
use fido_relay_proto::{CeremonyType, Reason, Username};
use serde_json::json;
use serde_json::value::RawValue;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{OK, OPTIONS, backend, complete, made, no_cookies, request, settings};
use crate::support::authority::Authority;
use crate::support::kept_output::KeptOutput;
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

fn always(body: &'static str) -> ScriptedUpstream {
    ScriptedUpstream::listening(move |_, _| Reply::Answer(Answer::json(200, body)))
}

#[tokio::test]
async fn a_begin_sends_what_was_asked_in_the_servers_spelling() {
    let server = always(OPTIONS);
    let backend = backend(&server.url());
    let options = json!({
        "userVerification": "required", "attestation": "direct", "attachment": "cross-platform",
        "algorithms": ["es256", "eddsa"], "discoverable_credential": "preferred",
        "rpId": "chosen.example",
    });
    for ceremony_type in
        [CeremonyType::Registration, CeremonyType::Authentication, CeremonyType::Approval]
    {
        let mut request = request(ceremony_type);
        backend.begin(request.clone()).await.unwrap();
        request.options = serde_json::from_value(options.clone()).unwrap();
        backend.begin(request).await.unwrap();
    }
    let sent: Vec<_> =
        server.received().into_iter().map(|request| (request.call, request.body)).collect();
    let register = "POST /fidoapi/certify/attestation/options";
    let authenticate = "POST /fidoapi/certify/assertion/options";
    let plain = r#"{"username":"ada","rpId":"example.com"}"#;
    let verified = r#"{"username":"ada","rpId":"example.com","userVerification":"required"}"#;
    let full = concat!(
        r#"{"username":"ada","displayName":"Ada Lovelace","rpId":"example.com","#,
        r#""userVerification":"required","attestation":"direct","attachment":"cross-platform","#,
        r#""algorithms":["es256","eddsa"],"discoverable_credential":"preferred"}"#
    );
    let short = r#"{"username":"ada","displayName":"Ada Lovelace","rpId":"example.com"}"#;
    let expected = [
        (register, short),
        (register, full),
        (authenticate, plain),
        (authenticate, verified),
        (authenticate, plain),
        (authenticate, verified),
    ];
    let expected = expected.map(|(call, body)| (call.to_owned(), body.to_owned()));
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn requests_carry_the_headers_they_need_and_no_others() {
    let server = always(OPTIONS);
    let backend = backend(&server.url());
    backend.begin(request(CeremonyType::Registration)).await.unwrap();
    complete(&backend).await;
    for request in server.received() {
        let mut names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let expected =
            ["accept", "accept-encoding", "content-length", "content-type", "host", "user-agent"];
        assert_eq!(names, expected, "{}", request.call);
        assert_eq!(request.all("content-type"), ["application/json"]);
        assert_eq!(request.all("accept-encoding"), ["identity"]);
    }
}

#[tokio::test]
async fn the_aliases_are_used_where_they_are_configured_and_below_the_base_path() {
    let server = always(OPTIONS);
    let mut settings = settings(&format!("{}/tenant/a/", server.url()));
    settings.paths = PathSet::Alias;
    let backend = made(settings);
    let credential = super::credential();
    for ceremony_type in [CeremonyType::Registration, CeremonyType::Approval] {
        backend.begin(request(ceremony_type)).await.unwrap();
        backend.complete(ceremony_type, &no_cookies(), &credential, 1000).await;
    }
    let calls: Vec<_> = server.received().into_iter().map(|request| request.call).collect();
    let expected = [
        "POST /tenant/a/fidoapi/register/begin",
        "POST /tenant/a/fidoapi/register/complete",
        "POST /tenant/a/fidoapi/authenticate/begin",
        "POST /tenant/a/fidoapi/authenticate/complete",
    ];
    assert_eq!(calls, expected);
}

#[tokio::test]
async fn the_options_object_is_passed_on_untouched_with_all_it_holds() {
    let body = "{ \"errorMessage\" : \"\",\n\t\"status\":\"ok\", \"future\": {\"b\":1, \"a\":[1.0e0]},\
        \"challenge\":\"+/+/AAECAwQFBgcICQoLDA==\",\"allowCredentials\":[{\"id\":\"\\u0041Q\"}] }";
    let server = always(body);
    let mut settings = settings(&server.url());
    let begun = made(settings.clone()).begin(request(CeremonyType::Authentication)).await.unwrap();
    assert_eq!(begun.public_key.get(), body);
    assert_eq!(begun.challenge, "-_-_AAECAwQFBgcICQoLDA");
    assert_eq!(begun.tx_binding, TxBinding::Relay);
    assert_eq!(begun.origin, server.url());

    settings.origin = Some("https://login.example.com".to_owned());
    let backend = made(settings);
    let begun = backend.begin(request(CeremonyType::Authentication)).await.unwrap();
    assert_eq!(begun.origin, "https://login.example.com");
}

#[tokio::test]
async fn the_credential_goes_out_byte_for_byte() {
    let server = always(OK);
    let odd = "{\"type\" : \"public-key\",\n  \"response\":{\"z\":1.50,\"a\":\"\\u00e9\\/é\",\"a\":2},\
        \t\"rawId\":\"AQIDBA\" ,\"id\":\"AQIDBA\"}";
    let credential = RawValue::from_string(odd.to_owned()).unwrap();
    let verdict = backend(&server.url())
        .complete(CeremonyType::Registration, &no_cookies(), &credential, 1000)
        .await
        .verdict;
    assert!(matches!(verdict, Verdict::Approved(_)));
    assert_eq!(server.received()[0].body, odd);
}

#[tokio::test]
async fn a_completion_carries_every_cookie_of_its_own_begin_and_none_of_another() {
    let server = ScriptedUpstream::listening(|number, request| {
        if request.call.ends_with("options") {
            let answer = Answer::json(200, OPTIONS)
                .with("Set-Cookie", format!("session=s{number}.x=; HttpOnly; Path=/; Secure"))
                .with("Set-Cookie", format!("node=n{number}; SameSite=Lax"));
            // Only every other ceremony gets the third one.
            let answer = match number % 2 {
                0 => answer.with("set-cookie", format!("extra=e{number}")),
                _ => answer,
            };
            Reply::Answer(answer)
        } else {
            Reply::Answer(Answer::json(200, OK).with("Set-Cookie", "session=of-complete"))
        }
    });
    let backend = backend(&server.url());
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(backend.begin(request(CeremonyType::Registration)).await.unwrap().session);
    }
    let credential = super::credential();
    for session in sessions.iter().rev() {
        backend.complete(CeremonyType::Registration, session, &credential, 1000).await;
    }
    let received = server.received();
    assert!(received[..4].iter().all(|begin| begin.all("cookie").is_empty()));
    let sent: Vec<_> = received[4..].iter().map(|complete| complete.all("cookie")).collect();
    let expected = [
        ["node=n3; session=s3.x="],
        ["node=n2; extra=e2; session=s2.x="],
        ["node=n1; session=s1.x="],
        ["node=n0; extra=e0; session=s0.x="],
    ];
    assert_eq!(sent, expected);
}

#[tokio::test]
async fn a_session_of_another_backend_is_never_sent_upstream() {
    let server = always(OK);
    let session = UpstreamSession("{\"state\":{}}".to_owned());
    let verdict = backend(&server.url())
        .complete(CeremonyType::Registration, &session, &super::credential(), 1000)
        .await
        .verdict;
    assert_eq!(verdict, Verdict::NotAsked);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn nothing_secret_shows_in_debug_output() {
    let server = ScriptedUpstream::listening(|_, _| {
        Reply::Answer(Answer::json(200, OPTIONS).with("Set-Cookie", "session=canary"))
    });
    let backend = backend(&server.url());
    let begun = backend.begin(request(CeremonyType::Registration)).await.unwrap();
    assert!(begun.session.0.contains("canary"));
    let printed = format!("{begun:?} {backend:?} {:?}", begun.session);
    assert!(!printed.contains("canary") && !printed.contains("Y2hhbGxlbmdl"), "{printed}");
}

#[tokio::test]
async fn nothing_secret_is_logged_at_the_finest_level() {
    const ANSWERS: [(u16, &str); 4] = [
        (200, r#"{"status":"ok","challenge":"Y2hhbGxlbmdlLWNoYWxsZW5nZQ"}"#),
        (200, r#"{"status":"failed","errorMessage":"canary-message"}"#),
        (500, "canary-page"),
        (302, "canary-page"),
    ];
    let written = KeptOutput::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let logging = subscriber.set_default();
    for (status, body) in ANSWERS {
        let server = ScriptedUpstream::listening(move |_, _| {
            Reply::Answer(Answer::json(status, body).with("Set-Cookie", "session=canary-cookie"))
        });
        let backend = backend(&server.url());
        // Both are printed as an operator's log would.
        let begun = backend.begin(request(CeremonyType::Registration)).await;
        tracing::info!(?begun, "begun");
        let session = UpstreamSession(r#"{"cookies":["session=canary-cookie"]}"#.to_owned());
        let credential = RawValue::from_string(r#"{"id":"canary-credential"}"#.to_owned()).unwrap();
        let verdict =
            backend.complete(CeremonyType::Registration, &session, &credential, 1000).await.verdict;
        tracing::info!(?verdict, "completed");
    }
    drop(logging);
    let written = written.text();
    assert!(written.contains("TRACE hyper_util"), "the libraries were heard too: {written}");
    for secret in ["canary", "Y2hhbGxlbmdl"] {
        assert!(!written.contains(secret), "{secret} in {written}");
    }
}

#[test]
fn a_base_url_that_hides_something_is_refused() {
    for url in [
        "ftp://fido.example",
        "data:text/plain,x",
        "https://user@fido.example",
        "https://:secret@fido.example",
        "https://fido.example/?a",
        "https://fido.example/#a",
    ] {
        let refused =
            FidoHttp::new(FidoHttpSettings::new(url.parse().unwrap()), Arc::new(SystemClock));
        assert!(matches!(refused, Err(FidoHttpSettingsError::BaseUrl)), "{url}");
    }
}

#[tokio::test]
async fn every_call_carries_the_gateways_headers_and_no_output_shows_them() {
    let server = always(OPTIONS);
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(&server.url());
    let file = directory.path().join("headers");
    std::fs::write(&file, "X-Api-Key: canary\nAuthorization: Basic canary\n").unwrap();
    settings.headers_file = Some(file.clone());
    let backend = made(settings.clone());
    assert!(!format!("{backend:?}").contains("canary"), "{backend:?}");
    backend.begin(request(CeremonyType::Registration)).await.unwrap();
    complete(&backend).await;
    backend.reach().await.unwrap();
    let received = server.received();
    assert_eq!(received.len(), 3);
    for request in received {
        assert_eq!(request.all("x-api-key"), ["canary"], "{}", request.call);
        assert_eq!(request.all("authorization"), ["Basic canary"], "{}", request.call);
    }
    std::fs::write(&file, "X-Api-Key: canary\nCookie: canary\n").unwrap();
    let refused = FidoHttp::new(settings, Arc::new(SystemClock)).unwrap_err().to_string();
    assert!(refused.starts_with("upstream.headers_file: ") && refused.contains("line 2"));
    assert!(!refused.contains("canary"), "{refused}");
}

#[test]
fn a_file_that_does_not_hold_what_it_should_is_named_with_its_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (cert, key) = Authority::new().pair();
    let (_, other_key) = Authority::new().pair();
    let pair = |cert_file, key_file| Some(ClientCert { cert_file, key_file });
    let absent = directory.path().join("absent");
    let (cert, key) = (file("cert", &cert), file("key", &key));
    for (ca_file, client_cert, key) in [
        (Some(absent.clone()), None, "upstream.ca_file"),
        (Some(file("empty", "no PEM")), None, "upstream.ca_file"),
        (None, pair(absent.clone(), key.clone()), "upstream.client_cert_file"),
        (None, pair(cert.clone(), absent), "upstream.client_key_file"),
        (None, pair(key.clone(), key), "upstream.client_cert_file"),
        (None, pair(cert.clone(), file("other", &other_key)), "upstream.url"),
    ] {
        let mut settings = settings("https://localhost");
        (settings.ca_file, settings.client_cert) = (ca_file, client_cert);
        let refused = FidoHttp::new(settings, Arc::new(SystemClock)).unwrap_err().to_string();
        assert!(refused.contains(key), "{refused}");
        assert!(!refused.contains("PRIVATE"), "{refused}");
    }
}

#[tokio::test]
async fn a_username_that_the_server_would_not_accept_costs_no_call() {
    let server = always(OPTIONS);
    let mut settings = settings(&server.url());
    settings.usernames = UsernameForm::Restricted;
    let backend = made(settings);
    for (username, taken) in [
        ("Ada.Lovelace_1-2", true),
        ("ada@example.com", false),
        ("ada lovelace", false),
        ("adá", false),
        ("a/b", false),
    ] {
        let mut request = request(CeremonyType::Registration);
        request.username = Username::new(username).unwrap();
        assert_eq!(backend.takes_username(&request.username), taken, "{username}");
        let begun = backend.begin(request).await.map(drop).map_err(|fault| fault.reason);
        assert_eq!(begun, if taken { Ok(()) } else { Err(Reason::UpstreamRejected) }, "{username}");
    }
    assert_eq!(server.received().len(), 1);
}
