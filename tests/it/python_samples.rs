//! The Python samples of the backend-proxied pattern, run together as a reader would run them:
//! a backend in one terminal, a phone in the other, the person carrying the code between them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use fido_relay::config::{Config, HttpUpstream, Upstream};
use fido_relay_proto::Outcome;
use fido_relay_proto::http::Status;
use serde_json::json;
use tokio::process::Command;

use crate::support::child::{ChildProcess, run};
use crate::support::fido2_server::Fido2Server;
use crate::support::needs;
use crate::support::relay::TestRelay;
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

/// Starts a sample, as in a terminal of its own.
fn terminal(python: &Path, sample: &str, arguments: &[&str], api_key: &str) -> ChildProcess {
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/python");
    let mut command = Command::new(python);
    command.arg(samples.join(sample)).args(arguments);
    ChildProcess::start(command.env("FIDO_RELAY_API_KEY", api_key))
}

/// Registers, signs in and has a payment approved; gives what vouches for the payment's words.
async fn both_samples_together(python: &Path, relay: &TestRelay) -> String {
    together(python, relay, &[]).await
}

/// The same with these arguments of the phone.
async fn together(python: &Path, relay: &TestRelay, arguments: &[&str]) -> String {
    let initiator = relay.initiator().await;
    let url = relay.url();
    let mut backend = terminal(python, "backend_proxied.py", &[&url], &initiator.key);
    let link = backend.prints("pair a phone:").await;
    let mut phone = terminal(python, "phone.py", &[&[link.as_str()], arguments].concat(), "");
    phone.prints("connected").await;
    for (kind, wrong_first) in
        [("registration", false), ("authentication", true), ("approval", false)]
    {
        let code = backend.prints("type this code into the app:").await;
        phone.prints("digit code of the page").await;
        if wrong_first {
            phone.types("no code at all\n").await;
            let malformed = "code_malformed (this is not six digits; no try is lost)";
            assert_eq!(phone.prints("refused:").await, malformed);
            let last = if code.ends_with('0') { "1" } else { "0" };
            phone.types(&format!("{}{last}\n", &code[..5])).await;
            assert_eq!(phone.prints("refused:").await, "wrong_code (wrong code, 2 tries left)");
        }
        phone.types(&format!("{}\n", code)).await;
        backend.prints(&format!("{kind}: succeeded, verified for ada@example.com")).await;
        phone.prints("succeeded").await;
    }
    let vouches = backend.prints("vouched for by the").await;
    backend.exit().await.stdout();
    let shown = phone.written();
    assert!(shown.contains("Amount: 120.00 EUR"), "the phone shows what is approved: {shown}");
    vouches
}

#[tokio::test]
async fn a_backend_and_a_phone_in_python_work_together_with_nothing_configured() {
    let Some(python) = needs::python("the backend-proxied samples") else { return };
    let relay = TestRelay::start().await;
    let vouches = both_samples_together(&python, &relay).await;
    assert_eq!(vouches, "card", "the challenge covers the payment");
}

#[tokio::test]
async fn a_phone_in_python_registers_signs_in_and_approves_without_a_socket() {
    let Some(python) = needs::python("the phone in Python that pulls") else { return };
    let relay = TestRelay::start().await;
    assert_eq!(together(&python, &relay, &["--pull"]).await, "card");
    assert!(relay.running.relay().delivery.registry().is_empty(), "it had no socket");
}

#[tokio::test]
async fn a_phone_in_python_that_pulls_takes_up_a_page_by_its_code() {
    let Some(python) = needs::python("codes alone on the phone that pulls") else { return };
    let relay = TestRelay::start_with(|config| config.prompts = Config::default().prompts).await;
    let initiator = relay.initiator().await;
    let pairing = initiator.pairing("ada").await;
    let mut phone = terminal(&python, "phone.py", &["--pull", &pairing.uri], "");
    phone.prints("connected").await;
    let order = json!({ "type": "registration", "username": "ada" });
    initiator.open(&order).await;
    phone.prints("digit code of the page").await;
    let silent = initiator.open(&order).await;
    phone.types(&format!("{}\n", silent.code.unwrap())).await;
    phone.prints("found by your code: it rang on no phone").await;
    phone.types("yes\n").await;
    let closed = initiator.outcome(silent.id).await;
    assert_eq!(closed.status, Status::Ended(Outcome::Succeeded));
    phone.prints("succeeded").await;
}

#[tokio::test]
async fn a_backend_and_a_phone_in_python_work_together_before_an_independent_fido2_server() {
    let what = "the backend-proxied samples before an independent FIDO2 server";
    let Some(python) = needs::python(what) else { return };
    let Some(server) = Fido2Server::start(what, &[]).await else { return };
    let relay = TestRelay::start_with(|config| {
        "localhost".clone_into(&mut config.tenant.rp_id);
        config.upstream = Upstream::Http(HttpUpstream::new(server.url().parse().unwrap()));
    })
    .await;
    let vouches = both_samples_together(&python, &relay).await;
    assert_eq!(vouches, "relay", "the challenge is the other server's");
}

#[tokio::test]
async fn the_phone_in_python_comes_back_after_a_restart_to_what_was_open() {
    let Some(python) = needs::python("the phone in Python over a restart") else { return };
    let relay = TestRelay::start().await;
    let initiator = relay.initiator().await;
    let pairing = initiator.pairing("ada").await;
    let mut phone = terminal(&python, "phone.py", &[&pairing.uri], "");
    phone.prints("connected").await;
    let opened = initiator.open(&json!({ "type": "registration", "username": "ada" })).await;
    phone.prints("digit code of the page").await;
    let _relay = relay.restart().await;
    phone.prints("connected").await;
    phone.types(&format!("{}\n", opened.code.unwrap())).await;
    phone.prints("succeeded").await;
    let closed = initiator.outcome(opened.id).await;
    assert_eq!(closed.status, Status::Ended(Outcome::Succeeded));
}

#[tokio::test]
async fn the_phone_in_python_takes_up_a_page_by_its_code_under_another_prompt_and_under_none() {
    let Some(python) = needs::python("codes alone on the phone in Python") else { return };
    let relay = TestRelay::start_with(|config| config.prompts = Config::default().prompts).await;
    let initiator = relay.initiator().await;
    let pairing = initiator.pairing("ada").await;
    let mut phone = terminal(&python, "phone.py", &[&pairing.uri], "");
    phone.prints("connected").await;
    let order = json!({ "type": "registration", "username": "ada" });
    let ringing = initiator.open(&order).await;
    phone.prints("digit code of the page").await;
    let silent = initiator.open(&order).await;
    // Under the other one's prompt, which goes on afterwards.
    phone.types(&format!("{}\n", silent.code.unwrap())).await;
    phone.prints("found by your code: it rang on no phone").await;
    phone.types("yes\n").await;
    let closed = initiator.outcome(silent.id).await;
    assert_eq!(closed.status, Status::Ended(Outcome::Succeeded));
    phone.prints("succeeded").await;
    phone.types(&format!("{}\n", ringing.code.unwrap())).await;
    phone.prints("succeeded").await;
    // Prompts that lead to nothing, until the phone rings no more: the code is all there is.
    for _ in 0..3 {
        let opened = initiator.open(&order).await;
        phone.prints("digit code of the page").await;
        initiator.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
        phone.prints("cancelled").await;
    }
    phone.types("no code at all\n").await;
    let malformed = "code_malformed (this is not six digits; no try is lost)";
    assert_eq!(phone.prints("refused:").await, malformed);
    let silent = initiator.open(&order).await;
    phone.types(&format!("{}\n", silent.code.unwrap())).await;
    phone.prints("found by your code: it rang on no phone").await;
    phone.types("yes\n").await;
    let closed = initiator.outcome(silent.id).await;
    assert_eq!(closed.status, Status::Ended(Outcome::Succeeded));
}

/// Runs a sample to its end; gives whether it succeeded, and its output.
async fn run_out(python: &Path, sample: &str, arguments: &[&str]) -> (bool, String) {
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/python");
    let mut program = Command::new(python);
    program.arg("-B").arg(samples.join(sample)).args(arguments);
    let exit = run(program.env("FIDO_RELAY_API_KEY", "rk_unused")).await;
    let printed = exit.text();
    assert!(!printed.contains("Traceback"), "{sample}: {printed}");
    (exit.code == Some(0), printed)
}

#[tokio::test]
async fn backend_repeats_opens_and_quotes_names() {
    let Some(python) = needs::python("the backend-proxied samples") else { return };
    let (opens, devices) = (AtomicUsize::new(0), "GET /v1/users/a%2F%3Fb%23%25%40c/devices");
    let relay = ScriptedUpstream::listening(move |_, request| {
        let closed = json!({ "id": "cer_1", "status": "denied", "reason": "declined", "seq": 30,
            "progress": [{ "seq": 10, "step": "opened" }, { "seq": 30, "step": "closed" }] });
        let answer = match request.call.as_str() {
            "GET /v1/clients/self" => json!({ "client_id": "cli_1" }),
            "POST /v1/ceremonies" => match opens.fetch_add(1, Ordering::Relaxed) {
                0 => return Reply::HangUp,
                1 => return Reply::Answer(Answer::json(503, "{}").with("Retry-After", "0")),
                _ => json!({ "id": "cer_1", "code": "123456" }),
            },
            "GET /v1/ceremonies/cer_1?wait=25&since=0" => closed,
            call if call == devices => json!({ "devices": [{}] }),
            call => panic!("{call}"),
        };
        Reply::Answer(Answer::json(200, answer.to_string()))
    });
    let arguments = [&relay.url(), "--username", "a/?b#%@c"];
    let (succeeded, printed) = run_out(&python, "backend_proxied.py", &arguments).await;
    assert!(!succeeded && printed.ends_with("registration: denied (declined)\n"), "{printed}");
    assert!(printed.contains("  opened\n  closed\n"), "{printed}");
    let received = relay.received();
    let opens = received.iter().filter(|request| request.call == "POST /v1/ceremonies");
    let opens: Vec<_> = opens.map(|open| (open.all("idempotency-key"), &open.body)).collect();
    assert_eq!(opens.len(), 3);
    assert!(opens.iter().all(|open| *open == opens[0] && open.0.len() == 1), "{opens:?}");
}

/// Breaks one claim after the other.
const REFUSED_RESULTS: &str = r#"
import time
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from backend_proxied import Relay

key, stranger = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
relay = object.__new__(Relay)
relay._url, relay._client_id = "https://relay.example.com", "cli_1"
jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
relay._keys = {"k1": jwt.PyJWK({**jwk, "use": "sig", "kid": "k1"}, algorithm="ES256")}
relay._call = lambda method, path: {"keys": [{**jwk, "kid": "k1"}]}
asked = {"type": "authentication", "username": "ada", "client_nonce": "n"}
good = {"iss": relay._url, "aud": "cli_1", "sub": "ada", "jti": "cer_1", "iat": int(time.time()),
    "exp": int(time.time()) + 60, "client_nonce": "n", "ceremony_type": "authentication",
    "outcome": "succeeded", "binding": "code", "amr": ["pop", "user", "pin", "mfa"]}

def verify(claims, key=key, **header):
    header = {"typ": "ceremony-result+jwt", "kid": "k1", **header}
    token = jwt.encode(claims, key, "ES256", headers=header)
    return relay.verify({"id": "cer_1", "result": token}, asked)

assert verify(good) == good
wrong = [("amr", ["pop", "user"]), ("amr", []), ("iss", "x"), ("aud", "cli_2"), ("sub", "bob"),
    ("jti", "cer_2"), ("exp", 1), ("client_nonce", "m"), ("ceremony_type", "approval"),
    ("outcome", "denied"), ("binding", "none")]
cases = [(({**good, name: value},), {}) for name, value in wrong]
cases += [(({n: v for n, v in good.items() if n != name},), {}) for name in good]
cases += [((good, stranger), {}), ((good,), {"typ": "JWT"}), ((good,), {"kid": "k2"})]
for arguments, header in cases:
    try:
        verify(*arguments, **header)
    except jwt.PyJWTError:
        continue
    raise AssertionError((arguments, header))
"#;

#[tokio::test]
async fn backend_refuses_results_without_pin() {
    let Some(python) = needs::python("the backend-proxied samples") else { return };
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/python");
    let mut program = Command::new(python);
    run(program.args(["-B", "-c", REFUSED_RESULTS]).current_dir(samples)).await.stdout();
}

#[tokio::test]
async fn phone_repeats_a_pairing_refused_temporarily() {
    let Some(python) = needs::python("the phone in Python") else { return };
    let relay = ScriptedUpstream::listening(|number, _| {
        let gone = json!({ "code": "gone", "title": "The pairing was used" }).to_string();
        let gone = Answer { headers: vec![], ..Answer::json(410, gone) };
        Reply::Answer(match number {
            0 => Answer::json(503, "{}").with("Retry-After", "0"),
            _ => gone.with("Content-Type", "application/problem+json"),
        })
    });
    let link = format!("fido-relay://pair?relay={}&token=t", relay.url());
    let (succeeded, printed) = run_out(&python, "phone.py", &[&link]).await;
    assert!(!succeeded);
    assert_eq!(printed, "not paired: The pairing was used\n");
    let received = relay.received();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].body, received[1].body);
}

#[tokio::test]
async fn samples_report_a_missing_relay() {
    let Some(python) = needs::python("the samples in Python") else { return };
    let page = ScriptedUpstream::listening(|_, _| {
        Reply::Answer(Answer { headers: vec![], ..Answer::json(404, "<html>") })
    });
    let absent = ScriptedUpstream::refusing();
    for (server, says) in [(page.url(), "HTTP 404"), (absent.url(), "does not answer: ")] {
        let link = format!("fido-relay://pair?relay={server}&token=t");
        let samples =
            [("backend_proxied.py", &server), ("client_direct.py", &server), ("phone.py", &link)];
        for (sample, argument) in samples {
            let (succeeded, printed) = run_out(&python, sample, &[argument]).await;
            assert!(!succeeded && printed.contains(says), "{sample}: {printed}");
            assert_eq!(printed.trim().lines().count(), 1, "{sample}: {printed}");
        }
    }
}
