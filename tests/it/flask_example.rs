//! The Flask application of `examples/flask`, to the end: its own process, a real relay with the
//! built-in FIDO2 server, a real browser, a simulated phone and card.

mod bank;

use std::path::PathBuf;

use fido_relay::config::Config;
use fido_relay::phone::{self, DeviceKey, Faults, PairingLink, PhoneEvent};
use fido_relay_proto::CeremonyId;
use serde_json::json;
use thirtyfour::Key;

use self::bank::Bank;
use crate::demo::browser::{Browser, DARK, LIGHT, NARROW};
use crate::support::needs;
use crate::support::relay::{Initiator, TestPhone, TestRelay};

const WHAT: &str = "the Flask application in a browser";

/// A bank with a user, a relay, a browser.
struct Scene {
    relay: TestRelay,
    initiator: Initiator,
    bank: Bank,
    browser: Browser,
    letter: String,
}

impl Scene {
    async fn set(change: impl FnOnce(&mut Config)) -> Option<(Self, PathBuf)> {
        let python = needs::python_with("flask, flask_wtf, waitress, httpx, rfc8785", WHAT)?;
        let chromium = needs::chromium(WHAT)?;
        let relay = TestRelay::start_with(change).await;
        let initiator = relay.initiator().await;
        let url = relay.url();
        let (bank, browser) =
            tokio::join!(Bank::open(&python, &url, &initiator.key), Browser::start(&chromium));
        let letter = bank.add_user("ada@harbour.example", "Ada Lovelace").await;
        Some((Self { relay, initiator, bank, browser, letter }, python))
    }

    async fn open(&self, path: &str) {
        self.browser.open(&format!("{}{path}", self.bank.url)).await;
    }

    /// From the letter to a registered card, by the bank's pages alone.
    async fn enrol(&self) -> TestPhone {
        let Self { browser, relay, .. } = self;
        self.open("/enrol").await;
        fill(browser, "#username", "Ada@harbour.example").await;
        fill(browser, "#code", &self.letter.to_lowercase()).await;
        browser.click("#go").await;
        browser.click("#pair").await;
        let link = browser.see("#link").await.attr("href").await.unwrap().unwrap();
        keep_pictures(browser, "flask-pairing").await;
        let link: PairingLink = link.parse().unwrap();
        let key = DeviceKey::generate().unwrap();
        let paired = phone::pair(&link.relay, &link.token, None, key).await.unwrap();
        let mut phone = relay.connect(paired, Faults::none()).await;
        browser.click("#paired").await;
        browser.click("#register").await;
        self.confirm(&mut phone).await;
        browser.read("#headline", "Your card is registered").await;
        browser.click("#next").await;
        phone
    }

    /// The person carries the code from the page to the phone, and holds the card to it.
    async fn confirm(&self, phone: &mut TestPhone) {
        let (id, code) = self.shown().await;
        phone.codes.tell(id, code);
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
        fill(&self.browser, "#amount", "1200.50").await;
        self.browser.click("#pay").await;
        self.browser.see("#code").await;
    }

    async fn cookie(&self) -> String {
        let cookies = self.browser.cookies().await;
        cookies[0]["value"].as_str().unwrap().to_owned()
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

/// What somebody with this cookie and nothing else is answered.
async fn asked_with(cookie: &str, url: &str) -> (u16, String) {
    let request = crate::support::relay::http().get(url);
    let answer = request.header("Cookie", format!("__Host-bank={cookie}")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_enrols_signs_in_has_a_payment_approved_and_signs_out() {
    let Some((scene, _)) = Scene::set(|_| {}).await else { return };
    let browser = &scene.browser;
    let mut phone = scene.enrol().await;
    scene.open("/sign-in").await;
    keep_pictures(browser, "flask-sign-in").await;

    scene.ask_to_sign_in("ada@harbour.example").await;
    let before = scene.cookie().await;
    browser.see("[data-step=delivered][data-state=done]").await;
    browser.read("#ask", "Type this code into the app on your phone").await;
    keep_pictures(browser, "flask-code").await;
    scene.confirm(&mut phone).await;
    browser.read(".note", "You are signed in. Your card confirmed it.").await;
    let cookies = browser.cookies().await;
    assert_eq!(cookies.as_array().unwrap().len(), 1, "{cookies}");
    for (name, value) in [
        ("name", json!("__Host-bank")),
        ("secure", json!(true)),
        ("httpOnly", json!(true)),
        ("sameSite", json!("Strict")),
        ("path", json!("/")),
    ] {
        assert_eq!(cookies[0][name], value, "{name}");
    }
    let within = scene.cookie().await;
    assert_ne!(before, within, "the session is another one");
    let (status, _) = asked_with(&before, &scene.bank.url).await;
    assert_eq!(status, 200, "redirected to the sign-in, which anybody may see");

    browser.press(Key::Tab).await;
    assert!(browser.see(".skip").await.is_displayed().await.unwrap());
    scene.ask_to_pay("Rowan & Daughters").await;
    assert_eq!(browser.text(".payment-title").await, "Payment to Rowan & Daughters");
    assert!(browser.text(".lines").await.contains("1,200.50 EUR"));
    keep_pictures(browser, "flask-approve").await;
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
    let (_, page) = asked_with(&within, &scene.bank.url).await;
    assert!(!page.contains("Ada"), "a cookie that was kept opens nothing");

    scene.open("/enrol").await;
    fill(browser, "#username", "ada@harbour.example").await;
    fill(browser, "#code", &scene.letter).await;
    browser.click("#go").await;
    browser.see("[role=alert]").await;
    scene.browser.quit().await;
}
