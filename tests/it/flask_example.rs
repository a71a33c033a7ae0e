//! The Flask application of `examples/flask`, to the end: its own process, a real relay with the
//! built-in FIDO2 server, a real browser, a simulated phone and card.

mod bank;
mod crowd;
mod visitor;

use std::path::Path;

use fido_relay::config::Config;
use fido_relay_proto::CeremonyId;
use fido_relay_rig::phone::{self, Decision, DeviceKey, Faults, PairingLink, PhoneEvent};
use serde_json::{Value, json};
use thirtyfour::Key;
use tokio::process::Command;

use self::bank::Bank;
use self::visitor::Visitor;
use crate::demo::browser::{Browser, DARK, LIGHT, NARROW};
use crate::python_client::passes_all;
use crate::support::needs;
use crate::support::relay::{Initiator, TestPhone, TestRelay};

const WHAT: &str = "the Flask application in a browser";
const MODULES: &str = "flask, flask_wtf, gunicorn, httpx, rfc8785";

/// A bank with a user, a relay, a browser.
struct Scene {
    relay: TestRelay,
    initiator: Initiator,
    bank: Bank,
    browser: Browser,
    letter: String,
}

impl Scene {
    async fn set(change: impl FnOnce(&mut Config)) -> Option<Self> {
        let python = needs::python_with(MODULES, WHAT)?;
        let chromium = needs::chromium(WHAT)?;
        let relay = TestRelay::start_with(change).await;
        let initiator = relay.initiator().await;
        let url = relay.url();
        let (bank, browser) =
            tokio::join!(Bank::open(&python, &url, &initiator.key), Browser::start(&chromium));
        initiator.list_page(&relay, &bank.url).await;
        let letter = bank.add_user("ada@harbour.example", "Ada Lovelace").await;
        Some(Self { relay, initiator, bank, browser, letter })
    }

    async fn open(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.bank.url)).await;
    }

    /// From the letter to a registered card, by the bank's pages alone.
    async fn enrol(&self) -> TestPhone {
        self.enrol_looking(async |_| {}).await
    }

    /// The same, with `look` called for each page.
    async fn enrol_looking(&self, look: impl AsyncFn(&str)) -> TestPhone {
        let Self { browser, relay, .. } = self;
        self.open("/enrol").await;
        look("flask-enrol").await;
        fill(browser, "#username", "Ada@harbour.example").await;
        fill(browser, "#code", &self.letter.to_lowercase()).await;
        browser.click("#go").await;
        browser.see("#pair").await;
        look("flask-welcome").await;
        browser.click("#pair").await;
        let link = browser.see("#link").await.attr("href").await.unwrap().unwrap();
        look("flask-pairing").await;
        let link: PairingLink = link.parse().unwrap();
        let key = DeviceKey::generate().unwrap();
        let paired = phone::pair(&link.relay, &link.token, None, key).await.unwrap();
        let mut phone = relay.connect(paired, Faults::none()).await;
        browser.click("#paired").await;
        browser.see("#register").await;
        look("flask-paired").await;
        browser.click("#register").await;
        self.confirm(&mut phone).await;
        browser.read("#headline", "Your card is registered").await;
        look("flask-registered").await;
        browser.click("#next").await;
        phone
    }

    /// The person carries the code from the page to the phone, and holds the card to it.
    async fn confirm(&self, phone: &mut TestPhone) {
        let (id, code) = self.shown().await;
        phone.codes.provide(id, code);
        phone
            .until(|event| matches!(event, PhoneEvent::Closed { ceremony_id, .. } if *ceremony_id == id))
            .await;
    }

    /// The ceremony whose page is open, and its code.
    async fn shown(&self) -> (CeremonyId, String) {
        self.browser.see("#code").await;
        let code = self.browser.text("#code").await;
        assert!(code.len() == 6 && code.bytes().all(|digit| digit.is_ascii_digit()), "{code}");
        (self.id().await, code)
    }

    /// The same, once the phone has its prompt.
    async fn rings(&self, phone: &mut TestPhone) -> (CeremonyId, String) {
        let (id, code) = self.shown().await;
        let has = |event: &PhoneEvent| matches!(event, PhoneEvent::Offered { offer, .. } if offer.ceremony_id == id);
        phone.until(has).await;
        (id, code)
    }

    async fn id(&self) -> CeremonyId {
        let path = self.browser.run("return location.pathname").await;
        path.as_str().unwrap().strip_prefix("/ceremony/").unwrap().parse().unwrap()
    }

    async fn ask_to_sign_in(&self, username: &str) {
        self.open("/sign-in").await;
        fill(&self.browser, "#username", username).await;
        self.browser.click("#go").await;
        self.browser.see("#code").await;
    }

    async fn sign_in(&self, phone: &mut TestPhone) {
        self.ask_to_sign_in("ada@harbour.example").await;
        self.confirm(phone).await;
        self.browser.read(".note", "You are signed in. Your card confirmed it.").await;
    }

    async fn ask_to_pay(&self, payee: &str) {
        self.open("/").await;
        fill(&self.browser, "#payee", payee).await;
        fill(&self.browser, "#amount", "1200,50").await;
        self.browser.click("#pay").await;
        self.browser.see("#code").await;
    }

    async fn cookie(&self) -> String {
        let cookies = self.browser.cookies().await;
        let mut cookies = cookies.as_array().unwrap().iter();
        let session = cookies.find(|cookie| cookie["name"] == "__Host-bank").unwrap();
        session["value"].as_str().unwrap().to_owned()
    }
}

async fn fill(browser: &Browser, css: &str, text: &str) {
    browser.see(css).await.send_keys(text).await.unwrap();
}

async fn keep_pictures(browser: &Browser, name: &str) {
    for (look, suffix) in [(DARK, "dark"), (NARROW, "narrow"), (LIGHT, "light")] {
        browser.look(look).await;
        browser.keep_picture(&format!("{name}-{suffix}")).await;
        let overflow = "return document.documentElement.scrollWidth > window.innerWidth";
        assert_eq!(browser.run(overflow).await, false, "{name} needs no sideways scrolling");
    }
}

/// The application's own tests, which a team keeps with the folder, against this build.
#[tokio::test]
async fn the_application_passes_its_own_tests() {
    let modules = format!("{MODULES}, pytest, jwt, standardwebhooks");
    let Some(python) = needs::python_with(&modules, WHAT) else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = Command::new(python);
    tests.args(["-m", "pytest", "--quiet", "--strict-markers", "-p", "no:cacheprovider", "tests"]);
    tests.current_dir(root.join("examples/flask"));
    passes_all(tests.env("PYTHONPATH", root.join("clients/python/src"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_enrols_signs_in_has_a_payment_approved_and_signs_out() {
    let Some(scene) = Scene::set(|_| {}).await else { return };
    let browser = &scene.browser;
    let mut phone = scene.enrol_looking(async |name| keep_pictures(browser, name).await).await;
    scene.open("/sign-in").await;
    keep_pictures(browser, "flask-sign-in").await;

    scene.ask_to_sign_in("ada@harbour.example").await;
    let before = scene.cookie().await;
    browser.see("[data-step=opened][data-state=done]").await;
    browser.read("#ask", "Open the app on your phone and type this code").await;
    keep_pictures(browser, "flask-code").await;
    let id = scene.id().await;
    let offered = |event: &PhoneEvent| matches!(event, PhoneEvent::Offered { offer, .. } if offer.ceremony_id == id);
    let PhoneEvent::Offered { offer, .. } = phone.until(offered).await else { unreachable!() };
    assert_eq!(offer.display_name.as_str(), "Ada Lovelace");
    scene.confirm(&mut phone).await;
    browser.read(".note", "You are signed in. Your card confirmed it.").await;
    let cookies = browser.cookies().await;
    let cookies = cookies.as_array().unwrap();
    let of = |name: &str| cookies.iter().find(|cookie| cookie["name"] == name).unwrap();
    assert_eq!((cookies.len(), of("__Host-browser")["secure"].as_bool()), (2, Some(true)));
    for (name, value) in [
        ("name", json!("__Host-bank")),
        ("secure", json!(true)),
        ("httpOnly", json!(true)),
        ("sameSite", json!("Lax")),
        ("path", json!("/")),
    ] {
        assert_eq!(of("__Host-bank")[name], value, "{name}");
    }
    let within = scene.cookie().await;
    assert_ne!(before, within, "the session is another one");
    let (_, page) = Visitor::with_cookie(&scene.bank.url, &before).get("/").await;
    assert!(page.contains("Please sign in first"), "{page}");

    browser.press(Key::Tab).await;
    assert!(browser.see(".skip").await.is_displayed().await.unwrap());
    scene.ask_to_pay("Rowan & Daughters").await;
    assert_eq!(browser.text(".payment-title").await, "Payment to Rowan & Daughters");
    assert!(browser.text(".lines").await.contains("1,200.50 EUR"));
    keep_pictures(browser, "flask-approve").await;
    scene.open("/").await;
    assert_eq!(browser.text("[data-state=open] .badge").await, "Waiting for your card");
    keep_pictures(browser, "flask-waiting").await;
    browser.click("[data-state=open] .vouched a").await;
    scene.confirm(&mut phone).await;
    browser.read("#headline", "Payment approved").await;
    assert_eq!(browser.focused().await, "headline");
    keep_pictures(browser, "flask-approved").await;
    browser.click("#next").await;
    let vouched = browser.see("[data-state=approved] .vouched").await.text().await.unwrap();
    assert!(vouched.contains("The card’s own signature covers these words, with its PIN"));
    keep_pictures(browser, "flask-payments").await;

    scene.open("/phones").await;
    keep_pictures(browser, "flask-phones").await;
    browser.click("#sign-out").await;
    browser.read(".note", "You are signed out.").await;
    let (_, page) = Visitor::with_cookie(&scene.bank.url, &within).get("/").await;
    assert!(!page.contains("Ada"), "a cookie that was kept opens nothing");

    scene.open("/enrol").await;
    fill(browser, "#username", "ada@harbour.example").await;
    fill(browser, "#code", &scene.letter).await;
    browser.click("#go").await;
    browser.see("[role=alert]").await;
    scene.browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ceremony_is_its_browsers_alone_and_other_endings_are_told_in_plain_words() {
    let Some(scene) = Scene::set(|_| {}).await else { return };
    let browser = &scene.browser;
    let mut phone = scene.enrol().await;

    // A stranger who knows the page's address, also after the card has said yes.
    scene.ask_to_sign_in("ada@harbour.example").await;
    let path = format!("/ceremony/{}", scene.id().await);
    let mut stranger = Visitor::at(&scene.bank.url).await;
    assert_eq!(stranger.get(&path).await.0, 404);
    // The browser's own page must not be the first to collect.
    let (id, code) = scene.shown().await;
    browser.open("about:blank").await;
    phone.codes.provide(id, code);
    phone.until(|event| matches!(event, PhoneEvent::Closed { .. })).await;
    for act in ["finish", "cancel"] {
        assert_eq!(stranger.post(&format!("{path}/{act}"), &[]).await.0, 404);
    }
    let (status, page) = stranger.get("/").await;
    assert!(status == 200 && page.contains("Please sign in first"), "{page}");
    // Who asked may collect, once.
    scene.open(&path).await;
    browser.read(".note", "You are signed in. Your card confirmed it.").await;
    scene.open(&path).await;
    assert_eq!(browser.text("#headline").await, "There is nothing here");

    // Forms of others are refused, and what a stranger opens tells nothing of the user.
    let forged = Visitor::with_cookie(&scene.bank.url, &scene.cookie().await);
    let (status, page) = forged.post("/payments", &[("payee", "Mallory"), ("amount", "1")]).await;
    assert!(status == 400 && page.contains("This page was too old"), "{status} {page}");
    let known = stranger.waiting_page("ada@harbour.example").await;
    assert_eq!(known, stranger.waiting_page("bob@harbour.example").await);
    for path in ["/payments/1/approve", "/phones/dev_x/revoke", "/cards", "/phones"] {
        let (_, page) = stranger.post(path, &[]).await;
        assert!(page.contains("Please sign in first"), "{path}: {page}");
    }

    scene.ask_to_pay("Rowan").await;
    let id = scene.rings(&mut phone).await.0;
    phone.handle.decide(id, Decision::Decline).await;
    browser.read("#headline", "Declined on your phone").await;
    keep_pictures(browser, "flask-declined").await;
    browser.click("#again").await;
    browser.click("#cancel").await;
    browser.read("#headline", "Cancelled").await;
    browser.click("#next").await;
    assert_eq!(browser.text("[data-state=open] .badge").await, "Not approved");
    keep_pictures(browser, "flask-not-approved").await;

    browser.click(".approve").await;
    let (id, code) = scene.rings(&mut phone).await;
    let wrong = format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000);
    for tries in 1..=3 {
        phone.codes.provide(id, wrong.clone());
        if tries < 3 {
            phone.until(|event| matches!(event, PhoneEvent::Refused { .. })).await;
        }
    }
    browser.read("#headline", "The code was wrong").await;
    keep_pictures(browser, "flask-wrong-code").await;

    browser.click("#again").await;
    let id = scene.rings(&mut phone).await.0;
    phone.handle.decide(id, Decision::NotMe).await;
    browser.read("#headline", "Reported on your phone").await;
    keep_pictures(browser, "flask-not-me").await;
    browser.click("#next").await;
    browser.read("h1", "Sign in").await;
    scene.browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_settles_a_payment_whose_page_was_closed_also_over_a_restart_of_the_bank() {
    let loopback = |config: &mut Config| {
        config.webhooks.allow_loopback_http = true;
        config.webhooks.allowed_hosts = vec!["127.0.0.1".to_owned()];
    };
    let Some(mut scene) = Scene::set(loopback).await else { return };
    let mut phone = scene.enrol().await;
    scene.sign_in(&mut phone).await;
    scene.ask_to_pay("Rowan & Daughters").await;
    let (id, code) = scene.shown().await;
    scene.browser.open("about:blank").await;

    let hook = format!("{}/hooks/relay", scene.bank.url);
    let made = scene.initiator.post("/v1/webhooks", &json!({ "url": hook })).await;
    assert_eq!(made.status(), 201, "{}", made.text().await.unwrap());
    let made: Value = made.json().await.unwrap();
    scene.bank = scene.bank.again(made["keys"][0]["public_key"].as_str().unwrap()).await;
    let unsigned = crate::support::relay::http().post(&hook).body("{}").send().await.unwrap();
    assert_eq!(unsigned.status(), 400);

    phone.codes.provide(id, code);
    scene.open("/").await;
    let approved = async {
        while !scene.browser.has("[data-state=approved]").await {
            scene.open("/").await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), approved).await.unwrap();
    scene.browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_down_is_told_and_a_page_that_waits_goes_on_when_it_is_back() {
    let Some(scene) = Scene::set(|_| {}).await else { return };
    scene.ask_to_sign_in("ada@harbour.example").await;
    let Scene { relay, bank, browser, .. } = scene;
    let (config, directory) = relay.stop().await;
    browser.see("#trouble").await;
    assert!(browser.shows("#finish button").await, "the person can say that it is done");
    keep_pictures(&browser, "flask-trouble").await;
    let visitor = Visitor::at(&bank.url).await;
    let (status, page) = visitor.post("/sign-in", &[("username", "ada")]).await;
    assert!(status == 503 && page.contains("We cannot reach your phone right now"), "{page}");
    let _relay = TestRelay::start_again(&config, directory).await;
    browser.gone("#trouble").await;
    browser.click("#cancel").await;
    browser.read("#headline", "Cancelled").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_told_with_the_time_to_wait() {
    let Some(python) = needs::python_with(MODULES, WHAT) else { return };
    let relay = TestRelay::start_with(|config| {
        let rates = &mut config.limits.rates;
        (rates.opens_per_s, rates.opens_burst) = (1, 1);
    })
    .await;
    let initiator = relay.initiator().await;
    let bank = Bank::open(&python, &relay.url(), &initiator.key).await;
    let mut visitors = Vec::new();
    for _ in 0..12 {
        visitors.push(Visitor::at(&bank.url).await);
    }
    let asked = visitors.iter().map(|visitor| visitor.post("/sign-in", &[("username", "ada")]));
    let answers = futures::future::join_all(asked).await;
    let told = answers.iter().find(|(status, _)| *status == 429).expect("somebody is refused");
    assert!(told.1.contains("Wait ") && told.1.contains(" seconds"), "{}", told.1);
    let strict = crate::support::relay::http().get(format!("{}/sign-in", bank.url));
    let headers = strict.send().await.unwrap().headers().clone();
    let policy = headers["content-security-policy"].to_str().unwrap();
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(headers["cache-control"], "no-store");
}
