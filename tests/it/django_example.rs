//! The Django application of `examples/django`: its own process, a real relay that sends it
//! webhooks, a simulated phone and card.

use std::path::{Path, PathBuf};

use fido_relay_rig::phone::PhoneEvent;
use reqwest::header::{COOKIE, HOST, SET_COOKIE};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::child::{ChildProcess, run};
use crate::support::needs;
use crate::support::own_port::OwnPort;
use crate::support::relay::{Initiator, TestPhone, TestRelay, http};

/// A browser: its cookies, the forms' token among them.
#[derive(Default)]
struct Browser {
    url: String,
    session: String,
    token: String,
}

impl Browser {
    fn post(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let form =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let post = http().post(format!("{}{path}", self.url)).body(form);
        let post = post.header("Content-Type", "application/x-www-form-urlencoded");
        post.header("X-CSRFToken", &self.token).header(COOKIE, self.cookies())
    }

    fn get(&self, path: &str) -> RequestBuilder {
        http().get(format!("{}{path}", self.url)).header(COOKIE, self.cookies())
    }

    fn cookies(&self) -> String {
        format!("csrftoken={}; __Host-session={}", self.token, self.session)
    }

    /// Sends it, and keeps the cookies that come back.
    async fn told(&mut self, request: RequestBuilder) -> (u16, Value) {
        let answer = request.send().await.unwrap();
        self.keep(&answer);
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
    }

    fn keep(&mut self, answer: &Response) {
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let (pair, attributes) = cookie.to_str().unwrap().split_once(';').unwrap();
            assert!(attributes.contains("Secure"), "{attributes}");
            match pair.split_once('=').unwrap() {
                ("csrftoken", value) => value.clone_into(&mut self.token),
                ("__Host-session", value) => value.clone_into(&mut self.session),
                (_, _) => {}
            }
        }
    }
}

fn application(python: &Path, relay: &TestRelay, initiator: &Initiator, data: &Path) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut program = Command::new(python);
    program
        .arg("bank.py")
        .current_dir(root.join("examples/django"))
        .env("PYTHONPATH", root.join("clients/python/src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("FIDO_RELAY_URL", relay.url())
        .env("FIDO_RELAY_API_KEY", &initiator.key)
        .env("BANK_DATABASE", data)
        .env("BANK_SECRET_KEY", "a secret of the test's own, and long enough for Django");
    program
}

fn python() -> Option<PathBuf> {
    needs::python_with("django, waitress, httpx, rfc8785", "the Django application")
}

/// Types the code of the page into the phone, and waits for the end.
async fn confirm(phone: &mut TestPhone, told: &Value) {
    let offered = |event: &PhoneEvent| matches!(event, PhoneEvent::Offered { .. });
    let PhoneEvent::Offered { offer, .. } = phone.until(offered).await else { unreachable!() };
    phone.codes.provide(offer.ceremony_id, told["code"].as_str().unwrap().to_owned());
    phone.until(|event| matches!(event, PhoneEvent::Closed { .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook_and_reconciler_settle_approved_payments() {
    let Some(python) = python() else { return };
    let relay = TestRelay::start_with(|config| {
        config.webhooks.allow_loopback_http = true;
        config.webhooks.allowed_hosts = vec!["127.0.0.1".to_owned()];
    })
    .await;
    let initiator = relay.initiator().await;
    let mut phone = relay.phone(&initiator, "ada").await;
    let card = initiator.open(&json!({ "type": "registration", "username": "ada" })).await;
    phone.types(&card);
    phone.until(|event| matches!(event, PhoneEvent::Closed { .. })).await;

    let (directory, port) = (tempfile::tempdir().unwrap(), OwnPort::reserve());
    let data = directory.path().join("bank.sqlite3");
    let hook = format!("http://{}/hooks/relay", port.address);
    let made = initiator.post("/v1/webhooks", &json!({ "url": hook })).await;
    let made: Value = made.json().await.unwrap();
    let mut program = application(&python, &relay, &initiator, &data);
    let key = made["keys"][0]["public_key"].as_str().unwrap();
    program.env("BANK_WEBHOOK_KEYS", key).args([&port.address.to_string(), "ada"]);
    let mut process = ChildProcess::start(&mut program);
    let url = process.prints("open: ").await;

    let mut browser = Browser { url: url.clone(), ..Browser::default() };
    browser.told(browser.get("/")).await;
    let (status, told) = browser.told(browser.post("/sign-in", &[("username", "a\u{202e}")])).await;
    assert!(status == 400 && told["error"].as_str().unwrap().starts_with("/username: "), "{told}");
    assert_eq!(browser.told(browser.post("/payments", &[])).await.0, 401);
    assert_eq!(browser.told(browser.post("/sign-in/finish", &[])).await.0, 404);
    let forged = Browser { token: String::new(), url: url.clone(), ..Browser::default() };
    assert_eq!(forged.post("/sign-in", &[("username", "ada")]).send().await.unwrap().status(), 403);
    let elsewhere = browser.get("/").header(HOST, "bank.example").send().await.unwrap();
    assert_eq!(elsewhere.status(), 400);
    assert_eq!(http().post(&hook).body("{}").send().await.unwrap().status(), 400);

    let (_, told) = browser.told(browser.post("/sign-in", &[("username", "ada")])).await;
    let (_, early) = browser.told(browser.post("/sign-in/finish", &[])).await;
    assert_eq!(early["status"], "pending");
    confirm(&mut phone, &told).await;
    let before = browser.session.clone();
    let (_, done) = browser.told(browser.post("/sign-in/finish", &[])).await;
    assert_eq!(done["status"], "succeeded");
    assert_ne!(browser.session, before, "the session is another one");
    assert_eq!(browser.told(browser.get("/")).await.1["username"], "ada");

    // The page is closed: the webhook settles it.
    let fields = [("payee", "Rowan & Daughters"), ("cents", "120050")];
    let (status, told) = browser.told(browser.post("/payments", &fields)).await;
    assert_eq!(status, 201, "{told}");
    confirm(&mut phone, &told).await;
    assert_eq!(process.logs("payment 1: succeeded").await, "");
    assert_eq!(forged.get("/payments/1").send().await.unwrap().status(), 404);

    // Neither page nor webhook: the reconciler does.
    let (_, told) = browser.told(browser.post("/payments", &fields)).await;
    process.kill().await;
    confirm(&mut phone, &told).await;
    let said = run(application(&python, &relay, &initiator, &data).arg("settle")).await.err;
    assert!(said.contains("payment 2: succeeded") && !said.contains("payment 1"), "{said}");

    // What is settled needs no relay, and without one nothing new is decided.
    let mut program = application(&python, &relay, &initiator, &data);
    program.args(["127.0.0.1:0", "ada"]);
    let mut process = ChildProcess::start(&mut program);
    browser.url = process.prints("open: ").await;
    let (_config, _place) = relay.stop().await;
    for payment in ["/payments/1", "/payments/2"] {
        let told = browser.told(browser.get(payment)).await;
        assert_eq!(told, (200, json!({ "state": "approved" })));
    }
    let (status, told) = browser.told(browser.post("/payments", &fields)).await;
    assert_eq!(
        (status, told["error"].as_str().unwrap()),
        (503, "the card service does not answer")
    );
}
