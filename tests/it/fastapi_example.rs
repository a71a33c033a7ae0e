//! The FastAPI application of `examples/fastapi`: its own process, a real relay with the built-in
//! FIDO2 server, a simulated phone and card, and a real browser where the page's script matters.

mod page;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fido_relay::tasks::Tasks;
use fido_relay_rig::phone::{Decision, PhoneEvent};
use reqwest::header::{COOKIE, HOST};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use self::page::{Page, cookie};
use crate::demo::browser::Browser;
use crate::python_client::passes_all;
use crate::support::child::ChildProcess;
use crate::support::needs;
use crate::support::relay::{Initiator, TestPhone, TestRelay, http};

const WHAT: &str = "the FastAPI application";

/// A relay, and the application as a process of its own.
struct Scene {
    relay: TestRelay,
    initiator: Initiator,
    url: String,
    _process: ChildProcess,
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
            .env("BANK_TRIES_PER_ADDRESS", "1000")
            .env("BANK_TRIES_PER_USERNAME", "1000");
        let mut process = ChildProcess::start(&mut program);
        let url = process.prints("open: ").await;
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

#[tokio::test(flavor = "multi_thread")]
async fn page_signs_in_and_out_over_reloads() {
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
    phone.codes.provide(offer.ceremony_id, code);
    browser.read("#told", "You are signed in.").await;
    browser.read("#who", "ada").await;
    browser.keep_picture("fastapi-signed-in").await;
    browser.open(&scene.url).await;
    browser.read("#who", "ada").await;
    browser.click("#sign-out").await;
    browser.read("#told", "You are signed out.").await;
    let kept = browser.cookies().await;
    let kept: Vec<_> = kept.as_array().unwrap().iter().map(|cookie| &cookie["name"]).collect();
    assert_eq!(kept, ["__Host-browser"], "by which the next sign-in is no stranger's");
    browser.open(&scene.url).await;
    browser.see("#form").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_explains_refusals_and_outages() {
    let Some(python) = python() else { return };
    let Some(chromium) = needs::chromium("the FastAPI application's page") else { return };
    let (scene, browser) = tokio::join!(Scene::set(&python), Browser::start(&chromium));
    browser.open(&scene.url).await;
    let name = browser.see("[name=username]").await;
    name.send_keys("a\u{202e}da").await.unwrap();
    browser.click("#go").await;
    let rule =
        "username: must not contain control, bidirectional, invisible or private-use characters";
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
async fn steps_and_session_are_one_browsers() {
    let Some(python) = python() else { return };
    let scene = Scene::set(&python).await;
    let mut phone = scene.phone().await;
    let url = &scene.url;
    let served = http().get(url).send().await.unwrap();
    let policy = served.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");

    let page = Page::asks(url).await;
    phone.codes.provide(page.id, page.code.clone());
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
async fn front(listener: TcpListener, relay: String, keys_lost: Arc<AtomicBool>, tasks: Tasks) {
    let stopping = tasks.stopping().clone();
    while let Some(Ok((outside, _))) = stopping.run_until_cancelled(listener.accept()).await {
        let (relay, lost) = (relay.clone(), keys_lost.load(Ordering::Relaxed));
        tasks.spawn_untraced(async move {
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
async fn keys_lost_after_outcome_cost_nothing() {
    let Some(python) = python() else { return };
    let relay = TestRelay::start().await;
    let keys_lost = Arc::new(AtomicBool::new(true));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let address = relay.url().trim_start_matches("http://").to_owned();
    let tasks = Tasks::default();
    tasks.spawn_untraced(front(listener, address, Arc::clone(&keys_lost), tasks.clone()));
    let scene = Scene::at(&python, relay, &url).await;
    let phone = scene.phone().await;
    let page = Page::asks(&scene.url).await;
    phone.codes.provide(page.id, page.code.clone());
    scene.initiator.outcome(page.id).await;
    let lost = page.finishes(&page.waiting).await;
    assert_eq!(lost.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(lost.headers().contains_key("retry-after"));
    keys_lost.store(false, Ordering::Relaxed);
    let finished = page.finishes(&page.waiting).await;
    assert_eq!(finished.status(), StatusCode::OK);
    let session = cookie(&finished, "session").unwrap();
    assert_eq!(page.is_signed_in(&session).await, "ada");
    tasks.stopping().cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_an_explained_4xx() {
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
async fn waiting_pages_are_bounded_and_harmless() {
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

#[tokio::test]
async fn tests_with_a_scripted_relay_pass() {
    let Some(python) = needs::python_with("fastapi, httpx, cachetools, pytest", WHAT) else {
        return;
    };
    let mut tests = Command::new(python);
    tests.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]).current_dir(folder());
    passes_all(tests.env("PYTHONPATH", client())).await;
}
