//! The FastAPI application of `examples/fastapi`: its own process, a real relay with the built-in
//! FIDO2 server, a simulated phone and card, and a real browser where the page's script matters.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fido_relay::phone::{Decision, PhoneEvent};
use fido_relay_proto::CeremonyId;
use reqwest::header::{COOKIE, HOST, SET_COOKIE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::demo::browser::Browser;
use crate::flask_example::bank::serve;
use crate::support::needs;
use crate::support::relay::{Initiator, TestPhone, TestRelay, http};

const WHAT: &str = "the FastAPI application";

/// A relay, and the application as a process of its own.
struct Scene {
    relay: TestRelay,
    initiator: Initiator,
    url: String,
    _process: Child,
}

impl Scene {
    async fn set(python: &Path) -> Self {
        let relay = TestRelay::start().await;
        let url = relay.url();
        Self::at(python, relay, &url).await
    }

    /// The application asks the relay at `relay_url`.
    async fn at(python: &Path, relay: TestRelay, relay_url: &str) -> Self {
        let initiator = relay.initiator().await;
        let mut program = Command::new(python);
        program
            .args(["app.py", "127.0.0.1:0"])
            .current_dir(folder())
            .env("PYTHONPATH", client())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("FIDO_RELAY_URL", relay_url)
            .env("FIDO_RELAY_ISSUER", relay.url())
            .env("FIDO_RELAY_API_KEY", &initiator.key)
            .kill_on_drop(true);
        let (process, url) = serve(program).await;
        Self { relay, initiator, url, _process: process }
    }

    /// A phone of ada's with a registered card.
    async fn phone(&self) -> TestPhone {
        let phone = self.relay.phone(&self.initiator, "ada").await;
        let card = self.initiator.open(&json!({ "type": "registration", "username": "ada" })).await;
        phone.types(&card);
        assert_eq!(self.initiator.outcome(card.id).await.id, card.id);
        phone
    }
}

fn python() -> Option<PathBuf> {
    needs::python_with("fastapi, uvicorn, httpx, rfc8785, cachetools", WHAT)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/fastapi")
}

fn client() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python/src")
}

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
    let whole = cookies.find(|cookie| cookie.starts_with(&format!("__Host-{name}=")))?;
    for part in ["HttpOnly", "SameSite=strict", "Secure", "Path=/"] {
        assert!(whole.contains(part), "{whole}");
    }
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

    async fn events(&self) -> Response {
        let events = self.http.get(format!("{}/sign-in/{}/events", self.url, self.id));
        events.header(COOKIE, &self.waiting).send().await.unwrap()
    }

    /// The steps that the page is told, to the last.
    async fn steps(&self) -> Vec<String> {
        let told = self.events().await;
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

#[tokio::test(flavor = "multi_thread")]
async fn its_page_signs_in_with_the_code_stays_so_over_a_reload_and_signs_out() {
    let Some(python) = python() else { return };
    let Some(chromium) = needs::chromium("the FastAPI application's page") else { return };
    let (scene, browser) = tokio::join!(Scene::set(&python), Browser::start(&chromium));
    let mut phone = scene.phone().await;
    browser.open(&scene.url).await;
    browser.see("[name=username]").await.send_keys("ada").await.unwrap();
    assert!(!browser.shows("#waiting").await);
    browser.click("#go").await;
    let warning = "Type it into the app only. Nobody from the bank will ever ask for it.";
    browser.read("#typing p + p", warning).await;
    let left = browser.text("#left").await;
    let seconds: u32 = left.strip_suffix(" s left").unwrap().parse().unwrap();
    assert!((1..=120).contains(&seconds), "{left}");
    browser.keep_picture("fastapi-code").await;
    let code = browser.text("#code").await;
    let offered = |event: &PhoneEvent| matches!(event, PhoneEvent::Offered { offer, .. } if offer.ceremony_type == fido_relay_proto::CeremonyType::Authentication);
    let PhoneEvent::Offered { offer, .. } = phone.until(offered).await else { unreachable!() };
    let context = offer.context.unwrap();
    assert_eq!(context.ip.unwrap().as_str(), "127.0.0.1");
    assert!(context.user_agent.unwrap().contains("Chrome"));
    phone.codes.tell(offer.ceremony_id, code);
    browser.read("#told", "You are signed in.").await;
    browser.read("#who", "ada").await;
    browser.keep_picture("fastapi-signed-in").await;
    browser.open(&scene.url).await;
    browser.read("#who", "ada").await;
    browser.click("#sign-out").await;
    browser.read("#told", "You are signed out.").await;
    assert_eq!(browser.cookies().await, json!([]));
    browser.open(&scene.url).await;
    browser.see("#form").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_page_explains_what_is_refused_and_cancels_once_the_relay_is_back() {
    let Some(python) = python() else { return };
    let Some(chromium) = needs::chromium("the FastAPI application's page") else { return };
    let (scene, browser) = tokio::join!(Scene::set(&python), Browser::start(&chromium));
    browser.open(&scene.url).await;
    let name = browser.see("[name=username]").await;
    name.send_keys("a\u{202e}da").await.unwrap();
    browser.click("#go").await;
    let rule = "username: must not contain control, bidirectional, invisible or private-use characters";
    browser.read("#told", rule).await;
    name.clear().await.unwrap();
    name.send_keys("ada").await.unwrap();
    browser.click("#go").await;
    browser.see("#cancel").await;
    let (config, place) = scene.relay.stop().await;
    browser.click("#cancel").await;
    browser.read("#told", "The card service does not answer.").await;
    let _relay = TestRelay::start_again(&config, place).await;
    browser.click("#cancel").await;
    browser.read("#told", "Cancelled. You are not signed in.").await;
    assert!(browser.shows("#form").await && !browser.shows("#waiting").await);
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_page_hears_each_step_and_the_browser_that_asked_is_signed_in_once() {
    let Some(python) = python() else { return };
    let scene = Scene::set(&python).await;
    let mut phone = scene.phone().await;
    let url = &scene.url;
    let served = http().get(url).send().await.unwrap();
    let policy = served.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");

    let page = Page::asks(url).await;
    phone.codes.tell(page.id, page.code.clone());
    let steps = page.steps().await;
    assert_eq!(steps.first().unwrap(), "opened");
    assert_eq!(steps.last().unwrap(), "closed");
    assert!(steps.contains(&"card".to_owned()), "{steps:?}");
    let other = Page::asks(url).await;
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
    // A cookie that was kept opens nothing after the sign-out.
    let out = http().post(format!("{url}/sign-out")).header(COOKIE, &session).send().await.unwrap();
    assert_eq!(out.status(), StatusCode::NO_CONTENT);
    assert_eq!(page.is_signed_in(&session).await, Value::Null);

    assert_eq!(other.finishes(&other.waiting).await.status(), StatusCode::CONFLICT);
    let offered = |event: &PhoneEvent| matches!(event, PhoneEvent::Offered { offer, .. } if offer.ceremony_id == other.id);
    phone.until(offered).await;
    phone.handle.decide(other.id, Decision::Decline).await;
    assert_eq!(other.steps().await.last().unwrap(), "closed");
    let finished = other.finishes(&other.waiting).await;
    assert!(cookie(&finished, "session").is_none());
    assert_eq!(finished.json::<Value>().await.unwrap(), json!({ "status": "denied" }));
}

/// Passes requests on to the relay, each over a connection of its own; those for its keys are cut
/// off while `keys_lost`.
async fn front(listener: TcpListener, relay: String, keys_lost: Arc<AtomicBool>) {
    loop {
        let (outside, _) = listener.accept().await.unwrap();
        let (relay, lost) = (relay.clone(), keys_lost.load(Ordering::Relaxed));
        tokio::spawn(async move {
            let (mut outside, mut head) = (BufReader::new(outside), String::new());
            while !head.ends_with("\r\n\r\n") {
                if outside.read_line(&mut head).await.unwrap() == 0 {
                    return;
                }
            }
            if lost && head.contains("/.well-known/jwks.json") {
                return;
            }
            let head = head.replace("keep-alive", "close");
            let mut inside = TcpStream::connect(relay).await.unwrap();
            inside.write_all(head.as_bytes()).await.unwrap();
            let _ = copy_bidirectional(&mut outside, &mut inside).await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_lost_between_outcome_and_keys_costs_no_sign_in() {
    let Some(python) = python() else { return };
    let relay = TestRelay::start().await;
    let keys_lost = Arc::new(AtomicBool::new(true));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let address = relay.url().trim_start_matches("http://").to_owned();
    let front = tokio::spawn(front(listener, address, Arc::clone(&keys_lost)));
    let scene = Scene::at(&python, relay, &url).await;
    let phone = scene.phone().await;
    let page = Page::asks(&scene.url).await;
    phone.codes.tell(page.id, page.code.clone());
    scene.initiator.outcome(page.id).await;
    let lost = page.finishes(&page.waiting).await;
    assert_eq!(lost.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(lost.headers().contains_key("retry-after"));
    keys_lost.store(false, Ordering::Relaxed);
    let finished = page.finishes(&page.waiting).await;
    assert_eq!(finished.status(), StatusCode::OK);
    let session = cookie(&finished, "session").unwrap();
    assert_eq!(page.is_signed_in(&session).await, "ada");
    front.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_input_gets_a_4xx_that_names_what_is_wrong() {
    let Some(python) = python() else { return };
    let scene = Scene::set(&python).await;
    let (http, url) = (http(), &scene.url);
    let page = Page::asks(url).await;
    let sign_in = || http.post(format!("{url}/sign-in")).header("content-type", "application/json");
    let named = |name: &str| sign_in().body(format!("{{\"username\":\"{name}\"}}"));
    let events = |id: &str, last: &str| {
        let events = http.get(format!("{url}/sign-in/{id}/events")).header("last-event-id", last);
        events.header(COOKIE, &page.waiting)
    };
    let id = page.id.to_string();
    let cases: [(RequestBuilder, u16, &str); 17] = [
        (named("a\\u202eda"), 422, "username: must not contain"),
        (named("e\\u0301"), 422, "username: "),
        (named(" ada"), 422, "username: "),
        (named("a\\ud800"), 422, "username: "),
        (named(""), 422, "username: "),
        (named(&"x".repeat(256)), 422, "username: "),
        (named(&"x".repeat(9000)), 413, "Content Too Large"),
        (sign_in().body("{}"), 422, "username: "),
        (sign_in().body("[]"), 422, "body: "),
        (sign_in().body("{"), 422, "JSON"),
        (sign_in().body(&b"{\"username\":\"\xff\"}"[..]), 400, "body"),
        (named("ada").header("sec-fetch-site", "same-site"), 403, "own page"),
        (named("ada").header(HOST, "bank.example"), 400, "host"),
        (events(&id, "x"), 422, "last-event-id: "),
        (events(&id, "-1"), 422, "last-event-id: "),
        (events(&id, "99999999999999999999"), 422, "last-event-id: "),
        (events("cer_AAAAAAAAAAAAAAAAAAAAAA", "1"), 404, "no such sign-in"),
    ];
    for (request, status, says) in cases {
        let answer = request.send().await.unwrap();
        let answered = answer.status();
        let text = answer.text().await.unwrap();
        assert!(answered == status && text.contains(says), "{says}: {answered} {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_wait_are_bounded_and_hold_nobody_else_up() {
    let Some(python) = python() else { return };
    let scene = Scene::set(&python).await;
    let asked = (0..40).map(async |_| {
        let page = Page::asks(&scene.url).await;
        let mut events = page.events().await;
        assert_eq!(events.status(), StatusCode::OK);
        events.chunk().await.unwrap().unwrap();
        (page, events)
    });
    let mut waiting = futures::future::join_all(asked).await;
    // Each of them holds its stream open; another page is served all the same.
    let next = http().get(&scene.url).timeout(std::time::Duration::from_secs(5)).send().await;
    assert_eq!(next.unwrap().status(), StatusCode::OK);
    let (page, first) = waiting.pop().unwrap();
    let mut more = Vec::new();
    for _ in 0..3 {
        more.push(page.events().await);
    }
    let refused = page.events().await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    // A page that went away leaves its place.
    drop((first, more));
    while page.events().await.status() != StatusCode::OK {}
}

#[test]
fn its_own_tests_pass_with_a_clock_and_a_relay_of_their_own() {
    let Some(python) = needs::python_with("fastapi, httpx, cachetools, pytest", WHAT) else {
        return;
    };
    let ran = std::process::Command::new(python)
        .args(["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .current_dir(folder())
        .env("PYTHONPATH", client())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
}
