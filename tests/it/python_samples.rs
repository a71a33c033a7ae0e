//! The Python samples of the backend-proxied pattern, run together as a reader would run them:
//! a backend in one terminal, a phone in the other, the person carrying the code between them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fido_relay::config::{HttpUpstream, Upstream};
use fido_relay_proto::Outcome;
use fido_relay_proto::http::{OpenedPairing, Status};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::fido2_server::Fido2Server;
use crate::support::needs;
use crate::support::relay::TestRelay;

/// Longer than three ceremonies take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A sample at work in a terminal of its own.
struct Terminal {
    process: Child,
    keyboard: ChildStdin,
    screen: Lines<BufReader<ChildStdout>>,
    shown: Vec<String>,
}

impl Terminal {
    fn run(python: &Path, sample: &str, arguments: &[&str], api_key: &str) -> Self {
        let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/python");
        let mut process = Command::new(python)
            .arg(samples.join(sample))
            .args(arguments)
            .env("FIDO_RELAY_API_KEY", api_key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let keyboard = process.stdin.take().unwrap();
        let screen = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, keyboard, screen, shown: Vec::new() }
    }

    /// Reads on to the line that has `mark` in it, and gives what follows the mark.
    async fn until(&mut self, mark: &str) -> String {
        while let Some(line) = self.screen.next_line().await.unwrap() {
            let found = line.split_once(mark).map(|(_, rest)| rest.trim().to_owned());
            self.shown.push(line);
            if let Some(rest) = found {
                return rest;
            }
        }
        panic!("it ended without {mark:?}; it showed {:#?}", self.shown);
    }

    async fn types(&mut self, text: &str) {
        self.keyboard.write_all(format!("{text}\n").as_bytes()).await.unwrap();
    }
}

/// Registers, signs in and has a payment approved; gives what vouches for the payment's words.
async fn both_samples_together(python: &Path, relay: &TestRelay) -> String {
    let initiator = relay.initiator().await;
    let url = relay.url();
    let mut backend = Terminal::run(python, "backend_proxied.py", &[&url], &initiator.key);
    let link = backend.until("pair a phone:").await;
    let mut phone = Terminal::run(python, "phone.py", &[&link], "");
    phone.until("connected").await;
    for (kind, wrong_first) in
        [("registration", false), ("authentication", true), ("approval", false)]
    {
        let code = backend.until("type this code into the app:").await;
        phone.until("digit code of the page").await;
        if wrong_first {
            phone.types("no code at all").await;
            let malformed = "code_malformed (this is not six digits; no try is lost)";
            assert_eq!(phone.until("refused:").await, malformed);
            let last = if code.ends_with('0') { "1" } else { "0" };
            phone.types(&format!("{}{last}", &code[..5])).await;
            assert_eq!(phone.until("refused:").await, "wrong_code (wrong code, 2 tries left)");
        }
        phone.types(&code).await;
        backend.until(&format!("{kind}: succeeded, verified for ada@example.com")).await;
        phone.until("succeeded").await;
    }
    let vouches = backend.until("vouched for by the").await;
    assert!(backend.process.wait().await.unwrap().success(), "{:#?}", backend.shown);
    let payment = phone.shown.iter().any(|line| line.contains("Amount: 120.00 EUR"));
    assert!(payment, "the phone shows what is approved: {:#?}", phone.shown);
    vouches
}

#[tokio::test]
async fn a_backend_and_a_phone_in_python_work_together_with_nothing_configured() {
    let Some(python) = needs::python("the backend-proxied samples") else { return };
    let relay = TestRelay::start().await;
    let run = both_samples_together(&python, &relay);
    let vouches = tokio::time::timeout(PATIENCE, run).await.unwrap();
    assert_eq!(vouches, "card", "the challenge covers the payment");
}

#[tokio::test]
async fn a_backend_and_a_phone_in_python_work_together_before_an_independent_fido2_server() {
    let what = "the backend-proxied samples before an independent FIDO2 server";
    let Some(python) = needs::python(what) else { return };
    let Some(server) = Fido2Server::start(what, &[]) else { return };
    let relay = TestRelay::start_with(|config| {
        "localhost".clone_into(&mut config.tenant.rp_id);
        config.upstream = Upstream::Http(HttpUpstream::new(server.url().parse().unwrap()));
    })
    .await;
    let run = both_samples_together(&python, &relay);
    let vouches = tokio::time::timeout(PATIENCE, run).await.unwrap();
    assert_eq!(vouches, "relay", "the challenge is the other server's");
}

#[tokio::test]
async fn the_phone_in_python_comes_back_after_a_restart_to_what_was_open() {
    let Some(python) = needs::python("the phone in Python over a restart") else { return };
    let relay = TestRelay::start().await;
    let initiator = relay.initiator().await;
    let pairing = initiator.post("/v1/pairings", &json!({ "username": "ada" })).await;
    let pairing: OpenedPairing = pairing.json().await.unwrap();
    let mut phone = Terminal::run(&python, "phone.py", &[&pairing.uri], "");
    phone.until("connected").await;
    let opened = initiator.open(&json!({ "type": "registration", "username": "ada" })).await;
    phone.until("digit code of the page").await;
    let _relay = relay.restart().await;
    phone.until("connected").await;
    phone.types(&opened.code.unwrap()).await;
    phone.until("succeeded").await;
    let closed = initiator.outcome(opened.id).await;
    assert_eq!(closed.status, Status::Ended(Outcome::Succeeded));
}
