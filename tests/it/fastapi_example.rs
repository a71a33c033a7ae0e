//! The FastAPI application of `examples/fastapi`: its own process, a real relay with the built-in
//! FIDO2 server, a simulated phone and card. The page's part is played over HTTP.

use std::path::Path;

use fido_relay::phone::{Decision, PhoneEvent};
use fido_relay_proto::CeremonyId;
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::demo::browser::Browser;
use crate::flask_example::bank::serve;
use crate::support::needs;
use crate::support::relay::{Initiator, TestRelay, http};

/// A browser at the application: what its page calls, and the cookies of one visit.
struct Page {
    url: String,
    http: Client,
    waiting: String,
    id: CeremonyId,
    code: String,
}

fn cookie(response: &Response, name: &str) -> Option<String> {
    let cookies = response.headers().get_all(SET_COOKIE).iter();
    let mut cookies = cookies.map(|cookie| cookie.to_str().unwrap());
    let whole = cookies.find(|cookie| cookie.starts_with(&format!("{name}=")))?;
    assert!(whole.contains("HttpOnly") && whole.contains("SameSite=strict"), "{whole}");
    Some(whole.split(';').next().unwrap().to_owned())
}

impl Page {
    async fn asks(url: &str) -> Self {
        let http = http();
        let asked = http.post(format!("{url}/sign-in")).json(&json!({ "username": "ada" }));
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let waiting = cookie(&answer, "waiting").unwrap();
        let told: Value = answer.json().await.unwrap();
        let id = told["id"].as_str().unwrap().parse().unwrap();
        let code = told["code"].as_str().unwrap().to_owned();
        Self { url: url.to_owned(), http, waiting, id, code }
    }

    /// The steps that the page is told, to the last.
    async fn steps(&self) -> Vec<String> {
        let events = self.http.get(format!("{}/sign-in/{}/events", self.url, self.id));
        let told = events.header(COOKIE, &self.waiting).send().await.unwrap();
        assert_eq!(told.headers()["content-type"], "text/event-stream; charset=utf-8");
        let told = told.text().await.unwrap();
        told.lines().filter_map(|line| line.strip_prefix("event: ")).map(str::to_owned).collect()
    }

    async fn finishes(&self, cookie: &str) -> Response {
        let call = self.http.post(format!("{}/sign-in/{}/finish", self.url, self.id));
        call.header(COOKIE, cookie).send().await.unwrap()
    }

    async fn cancels(&self, cookie: &str) -> StatusCode {
        let call = self.http.post(format!("{}/sign-in/{}/cancel", self.url, self.id));
        call.header(COOKIE, cookie).send().await.unwrap().status()
    }

    async fn is_signed_in(&self, cookie: &str) -> Value {
        let call = self.http.get(format!("{}/me", self.url)).header(COOKIE, cookie);
        call.send().await.unwrap().json::<Value>().await.unwrap()["username"].take()
    }
}

const WHAT: &str = "the FastAPI application";

/// The application as a process of its own, and where its page is.
async fn application(python: &Path, relay: &TestRelay, initiator: &Initiator) -> (Child, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut program = Command::new(python);
    program
        .args(["app.py", "127.0.0.1:0"])
        .current_dir(root.join("examples/fastapi"))
        .env("PYTHONPATH", root.join("clients/python/src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("FIDO_RELAY_URL", relay.url())
        .env("FIDO_RELAY_API_KEY", &initiator.key)
        .kill_on_drop(true);
    serve(program).await
}

#[tokio::test(flavor = "multi_thread")]
async fn its_page_shows_the_code_with_a_warning_the_time_left_and_a_way_to_cancel() {
    let Some(python) = needs::python_with("fastapi, uvicorn, httpx, rfc8785", WHAT) else { return };
    let Some(chromium) = needs::chromium("the FastAPI application's page") else { return };
    let relay = TestRelay::start().await;
    let initiator = relay.initiator().await;
    let ((_process, url), browser) =
        tokio::join!(application(&python, &relay, &initiator), Browser::start(&chromium));
    browser.open(&url).await;
    assert!(!browser.shows("#waiting").await);
    browser.see("[name=username]").await.send_keys("ada").await.unwrap();
    browser.click("form button").await;
    browser
        .read(
            "#typing p + p",
            "Type it into the app only. Nobody from the bank will ever ask for it.",
        )
        .await;
    assert_eq!(browser.text("#code").await.len(), 6);
    let left = browser.text("#left").await;
    let seconds: u32 = left.strip_suffix(" s left").unwrap().parse().unwrap();
    assert!((1..=120).contains(&seconds), "{left}");
    browser.keep_picture("fastapi-code").await;
    browser.click("#cancel").await;
    browser.read("#told", "Cancelled. You are not signed in.").await;
    assert!(browser.shows("form").await && !browser.shows("#waiting").await);
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_page_hears_each_step_and_the_browser_that_asked_is_signed_in_once() {
    let Some(python) = needs::python_with("fastapi, uvicorn, httpx, rfc8785", WHAT) else { return };
    let relay = TestRelay::start().await;
    let initiator = relay.initiator().await;
    let mut phone = relay.phone(&initiator, "ada").await;
    let card = initiator.open(&json!({ "type": "registration", "username": "ada" })).await;
    phone.types(&card);
    assert_eq!(initiator.outcome(card.id).await.id, card.id);

    let (_process, url) = application(&python, &relay, &initiator).await;

    let served = http().get(&url).send().await.unwrap();
    let policy = served.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");

    let page = Page::asks(&url).await;
    phone.codes.tell(page.id, page.code.clone());
    let steps = page.steps().await;
    assert_eq!(steps.first().unwrap(), "opened");
    assert_eq!(steps.last().unwrap(), "closed");
    assert!(steps.contains(&"card".to_owned()), "{steps:?}");
    let other = Page::asks(&url).await;
    // No other browser cancels it, and it is too late for that once the card has answered.
    assert_eq!(page.cancels(&other.waiting).await, StatusCode::NOT_FOUND);
    assert_eq!(page.cancels(&page.waiting).await, StatusCode::NO_CONTENT);
    assert_eq!(page.finishes(&other.waiting).await.status(), StatusCode::NOT_FOUND);
    let finished = page.finishes(&page.waiting).await;
    let session = cookie(&finished, "session").unwrap();
    assert_eq!(finished.json::<Value>().await.unwrap(), json!({ "status": "succeeded" }));
    assert_eq!(page.is_signed_in(&session).await, "ada");
    assert_eq!(page.is_signed_in(&other.waiting).await, Value::Null);
    assert_eq!(page.finishes(&page.waiting).await.status(), StatusCode::NOT_FOUND);

    assert_eq!(other.finishes(&other.waiting).await.status(), StatusCode::CONFLICT);
    let offered = |event: &PhoneEvent| matches!(event, PhoneEvent::Offered { offer, .. } if offer.ceremony_id == other.id);
    phone.until(offered).await;
    phone.handle.decide(other.id, Decision::Decline).await;
    assert_eq!(other.steps().await.last().unwrap(), "closed");
    let finished = other.finishes(&other.waiting).await;
    assert!(cookie(&finished, "session").is_none());
    assert_eq!(finished.json::<Value>().await.unwrap(), json!({ "status": "denied" }));
}
