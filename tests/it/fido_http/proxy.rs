//! Client-direct calls passed on to an external server.

use fido_relay::backends::fido_http::UsernameForm;
use fido_relay::ports::{Certify as _, CertifyCall, CertifyReply, CertifyStep, latin1};

use super::{OK, backend, made, settings};
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

fn call(step: CertifyStep, cookie: Option<&str>, body: &str) -> CertifyCall {
    CertifyCall { step, cookie: cookie.map(str::to_owned), body: body.into() }
}

fn text(reply: &CertifyReply) -> &str {
    std::str::from_utf8(&reply.body).unwrap()
}

#[tokio::test]
async fn body_and_cookies_pass_and_the_servers_answer_comes_back() {
    let server = ScriptedUpstream::listening(|number, _| {
        let status = [200, 401][number];
        let answer = Answer::json(status, r#"{ "status":"failed", "x":1 }"#)
            .with("Set-Cookie", "session=abc; Domain=fido.example; Path=/; HttpOnly")
            .with("Set-Cookie", "other=1")
            .with("X-Internal", "secret");
        Reply::Answer(answer)
    });
    let backend = backend(&server.url());

    let options = call(CertifyStep::AttestationOptions, None, "{ \"username\" : \"ada\" }");
    let reply = backend.call(options).await;
    assert_eq!((reply.status, text(&reply)), (200, r#"{ "status":"failed", "x":1 }"#));
    assert_eq!(reply.set_cookies, ["session=abc; Path=/; HttpOnly", "other=1"]);

    let odd = "{ \"id\":\"A\",\n\"id2\" : 1.0 }";
    let reply = backend.call(call(CertifyStep::AssertionResult, Some("session=abc"), odd)).await;
    assert_eq!(reply.status, 401);

    let received = server.received();
    assert_eq!(received[0].call, "POST /fidoapi/certify/attestation/options");
    assert_eq!(received[0].body, r#"{"username":"ada"}"#);
    assert!(received[0].all("cookie").is_empty());
    assert_eq!(received[1].call, "POST /fidoapi/certify/assertion/result");
    assert_eq!(received[1].body, odd);
    assert_eq!(received[1].all("cookie"), ["session=abc"]);
}

#[tokio::test]
async fn what_is_no_json_object_does_not_reach_the_server() {
    let server = ScriptedUpstream::listening(|_, _| Reply::Answer(Answer::json(200, OK)));
    let backend = backend(&server.url());
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(9), "]".repeat(9));
    for step in [CertifyStep::AttestationOptions, CertifyStep::AttestationResult] {
        for body in ["", "[]", "\"a\"", "{", "{} {}", "{\"a\":1,}", deep.as_str()] {
            let reply = backend.call(call(step, None, body)).await;
            assert_eq!(reply.status, 400, "{step:?} {body}");
        }
    }
    let smuggled = "a=b\r\nX-Evil: 1";
    let reply = backend.call(call(CertifyStep::AttestationResult, Some(smuggled), "{}")).await;
    assert_eq!(reply.status, 400);
    let long = "x".repeat(8 * 1024 + 1);
    let reply = backend.call(call(CertifyStep::AttestationResult, Some(&long), "{}")).await;
    assert_eq!(reply.status, 400);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_server_that_makes_no_sense_is_a_bad_gateway_and_is_asked_once() {
    for reply in [
        Reply::Answer(Answer::json(302, OK).with("Location", "/elsewhere")),
        Reply::Answer(Answer { status: 200, headers: Vec::new(), body: "<html>".to_owned() }),
        Reply::Endless,
        Reply::HangUp,
    ] {
        let script = reply.clone();
        let server = ScriptedUpstream::listening(move |_, _| script.clone());
        let backend = backend(&server.url());
        for step in [CertifyStep::AssertionOptions, CertifyStep::AssertionResult] {
            let answered = backend.call(call(step, None, "{}")).await;
            assert_eq!(answered.status, 502, "{reply:?}");
            assert!(text(&answered).contains(r#""status":"failed""#));
        }
        assert_eq!(server.received().len(), 2, "{reply:?}");
    }
    let absent = ScriptedUpstream::refusing();
    let reply = backend(&absent.url()).call(call(CertifyStep::AssertionOptions, None, "{}")).await;
    assert_eq!(reply.status, 502);
}

#[tokio::test]
async fn cookies_come_back_as_if_the_relays_path_were_the_servers() {
    for (base, https, set, passed_on) in [
        ("", false, "a=1; Path=/; Secure; HttpOnly", "a=1; Path=/; HttpOnly"),
        ("", true, "a=1; Path=/; Secure; HttpOnly", "a=1; Path=/; Secure; HttpOnly"),
        ("/pre", false, "a=1; Path=/pre/fidoapi; secure", "a=1; Path=/fidoapi"),
        ("/pre/", true, "a=1;path=/pre/fidoapi/;Secure", "a=1; Path=/fidoapi;Secure"),
        ("/pre", false, "a=1; Path=/pre/fidoapi/register", "a=1; Path=/fidoapi"),
        ("/pre", false, "a=1; Path=/pre; Max-Age=0", "a=1; Path=/; Max-Age=0"),
        ("/pre/more", false, "a=1; Path=/pre", "a=1; Path=/"),
        ("/pre", false, "a=1; Path=/prefix", "a=1; Path=/prefix"),
        (
            "",
            false,
            "a=; Path=/fidoapi/; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "a=; Path=/fidoapi; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        ),
        ("", false, "a=1; Path=", "a=1; Path="),
        ("", false, "a=é à; DOMAIN=fido.example", "a=é à"),
        ("", false, "secure=1; SameSite=Lax", "secure=1; SameSite=Lax"),
    ] {
        let set_cookie = set.to_owned();
        let server = ScriptedUpstream::listening(move |_, _| {
            Reply::Answer(Answer::json(200, OK).with("Set-Cookie", set_cookie.clone()))
        });
        let mut settings = settings(&format!("{}{base}", server.url()));
        settings.secure_cookies = https;
        let cookie = latin1("a=é".as_bytes());
        let reply =
            made(settings).call(call(CertifyStep::AssertionResult, Some(&cookie), "{}")).await;
        assert_eq!(reply.set_cookies, [latin1(passed_on.as_bytes())], "{set} below {base:?}");
        assert_eq!(server.received()[0].all("cookie"), ["a=é"]);
    }
}

#[tokio::test]
async fn a_compressed_answer_keeps_what_says_so() {
    let server = ScriptedUpstream::listening(|_, _| {
        Reply::Answer(Answer::json(200, "\u{FEFF} compressed").with("Content-Encoding", "gzip"))
    });
    let reply = backend(&server.url()).call(call(CertifyStep::AssertionResult, None, "{}")).await;
    assert_eq!((reply.status, text(&reply)), (200, "\u{FEFF} compressed"));
    assert_eq!(reply.content_encoding.as_deref(), Some("gzip"));
    assert_eq!(server.received()[0].all("accept-encoding"), ["identity"]);
}

#[tokio::test]
async fn a_program_is_told_that_its_username_is_not_accepted() {
    let server = ScriptedUpstream::listening(|_, _| Reply::Answer(Answer::json(200, OK)));
    let mut settings = settings(&server.url());
    settings.usernames = UsernameForm::Restricted;
    let backend = made(settings);
    for (step, body, status) in [
        (CertifyStep::AttestationOptions, r#"{"username":"ada@example.com"}"#, 400),
        (CertifyStep::AssertionOptions, r#"{"username":"ada lovelace"}"#, 400),
        (CertifyStep::AssertionOptions, r#"{"username":"ada.lovelace"}"#, 200),
        (CertifyStep::AssertionResult, r#"{"username":"ada@example.com"}"#, 200),
    ] {
        assert_eq!(backend.call(call(step, None, body)).await.status, status, "{body}");
    }
    assert_eq!(server.received().len(), 2);
}
