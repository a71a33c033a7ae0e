//! The demo bank's page in a real browser.

mod browser;
mod scripted_relay;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::backends::embedded::SystemClock;
use fido_relay::cli::demo::bank::{Account, Bank};
use fido_relay::cli::demo::initiator::Initiator;
use fido_relay::cli::demo::narrate::Narrator;
use fido_relay::cli::demo::{payment, site, web};
use fido_relay::tasks::Tasks;
use fido_relay_proto::{Outcome, Reason, Step};
use serde_json::json;
use thirtyfour::Key;
use tokio::net::TcpListener;

use browser::{Browser, DARK, LIGHT, NARROW};
use scripted_relay::{API_KEY, ISSUER, ScriptedRelay};

/// Where a narrator writes in a test.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A bank in front of a scripted relay.
struct Scene {
    relay: ScriptedRelay,
    url: String,
    told: Page,
    tasks: Tasks,
}

impl Scene {
    async fn set() -> Self {
        let tasks = Tasks::default();
        let relay = ScriptedRelay::start(&tasks).await;
        let initiator = Initiator::new(relay.base(), API_KEY.into()).unwrap();
        let account = Account {
            client_id: relay.client_id(),
            issuer: ISSUER.to_owned(),
            username: "ada@harbour.example".to_owned().try_into().unwrap(),
            display_name: "Ada Lovelace".to_owned().try_into().unwrap(),
            payment: payment().unwrap(),
        };
        let told = Page::default();
        let clock = Arc::new(SystemClock);
        let narrator = Narrator::new(clock.clone(), Box::new(told.clone()), false);
        let bank = Bank::new(initiator, account, clock, narrator);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        web::serve(listener, site::router(bank), &tasks).unwrap();
        Self { relay, url, told, tasks }
    }

    async fn clear(self) {
        assert!(self.tasks.stop(Duration::from_secs(5)).await, "everything ends when told to");
    }
}

const UP_TO_DELIVERED: [Step; 2] = [Step::Sent, Step::Delivered];
const UP_TO_VERIFYING: [Step; 4] = [Step::Claimed, Step::Challenged, Step::Card, Step::Verifying];

#[tokio::test(flavor = "multi_thread")]
async fn the_page_follows_a_payment_from_the_code_to_the_proven_result() {
    let Some(browser) = Browser::start("a payment on the demo's page").await else { return };
    let scene = Scene::set().await;
    browser.open(&scene.url).await;
    browser.read("#choose-title", "Good to see you, Ada Lovelace").await;
    for (look, name) in [(LIGHT, "light"), (DARK, "dark"), (NARROW, "narrow")] {
        browser.look(look).await;
        browser.keep_picture(&format!("overview-{name}")).await;
    }
    browser.look(LIGHT).await;

    let click = browser.click("[data-action=approve]");
    let id = scene.relay.opened_by(click).await;
    browser.read("#run-title", "Approve the payment").await;
    assert_eq!(browser.text("#code-digits").await, "481205");
    assert_eq!(browser.text("#code-spoken").await, "4 8 1, 2 0 5");
    assert_eq!(browser.focused().await, "run-title");
    assert!(browser.text("#compare").await.contains("Rowan & Daughters"));

    scene.relay.steps(id, &UP_TO_DELIVERED);
    browser.see("[data-step=delivered][data-state=done]").await;
    browser.see("[data-step=claimed][data-state=next]").await;
    browser.read("#ask", "Type this code into the app on your phone").await;
    for (look, name) in [(LIGHT, "light"), (DARK, "dark"), (NARROW, "narrow")] {
        browser.look(look).await;
        browser.keep_picture(&format!("code-{name}")).await;
        let overflow = "return document.documentElement.scrollWidth > window.innerWidth";
        assert_eq!(browser.run(overflow).await, false, "{name} needs no sideways scrolling");
    }
    browser.look(LIGHT).await;

    scene.relay.steps(id, &UP_TO_VERIFYING[..2]);
    browser.read("#ask", "Hold your card to the back of the phone, and enter its PIN there").await;
    assert!(!browser.shows("#code").await, "a code that was typed is of no more use");
    browser.keep_picture("card-light").await;

    scene.relay.steps(id, &UP_TO_VERIFYING[2..]);
    scene.relay.close(id, Outcome::Succeeded, None);
    browser.read("#headline", "Payment approved").await;
    assert_eq!(browser.focused().await, "headline");
    assert!(browser.text("#checked").await.contains("covered by the card's own signature"));
    browser.see("[data-step=closed][data-state=done]").await;
    browser.click("#proof summary").await;
    for (look, name) in [(LIGHT, "light"), (DARK, "dark"), (NARROW, "narrow")] {
        browser.look(look).await;
        browser.keep_picture(&format!("approved-{name}")).await;
    }

    let told = scene.told.text();
    assert!(told.contains("result token verified"), "{told}");
    browser.quit().await;
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_in_plain_words_how_it_ended_and_what_to_do() {
    let Some(browser) = Browser::start("the endings on the demo's page").await else { return };
    let scene = Scene::set().await;
    browser.open(&scene.url).await;
    let endings = [
        (Outcome::Denied, Some(Reason::Declined), "Declined on your phone"),
        (Outcome::Denied, Some(Reason::NotMe), "Reported on your phone"),
        (Outcome::Rejected, Some(Reason::UpstreamRejected), "The card was not accepted"),
        (Outcome::Failed, Some(Reason::WrongCode), "The code was wrong"),
        (Outcome::Failed, Some(Reason::PinFailed), "The card could not do it"),
        (Outcome::Expired, Some(Reason::Deadline), "Time ran out"),
        (Outcome::Indeterminate, Some(Reason::UpstreamUnknown), "Not confirmed"),
    ];
    for (n, (outcome, reason, headline)) in endings.into_iter().enumerate() {
        let again = if n == 0 { "[data-action=sign-in]" } else { "#again" };
        let id = scene.relay.opened_by(browser.click(again)).await;
        scene.relay.steps(id, &UP_TO_DELIVERED);
        scene.relay.close(id, outcome, reason);
        browser.read("#headline", headline).await;
        assert!(browser.shows("#advice").await, "{headline}: says what to do");
        browser.see("[data-step=closed][data-state=bad]").await;
        browser.see("[data-step=card][data-state=skipped]").await;
        assert!(!browser.shows("#proof").await, "there is nothing to prove");
    }
    browser.keep_picture("not-confirmed-light").await;
    browser.look(NARROW).await;
    browser.keep_picture("not-confirmed-narrow").await;
    browser.quit().await;
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_the_bank_cannot_prove_is_not_shown_as_one() {
    let Some(browser) = Browser::start("forged results on the demo's page").await else { return };
    let scene = Scene::set().await;
    browser.open(&scene.url).await;
    let forgeries = [
        json!({ "client_nonce": "another" }),
        json!({ "aud": "cli_BwcHBwcHBwcHBwcHBwcHCA" }),
        json!({ "iss": "https://elsewhere.example" }),
        json!({ "jti": "cer_BwcHBwcHBwcHBwcHBwcHBw" }),
        json!({ "tx_hash": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU" }),
        json!({ "ceremony_type": "authentication" }),
        json!({ "outcome": "denied" }),
        json!({ "sub": "mallory@harbour.example" }),
        json!({ "exp": 1_700_000_000 }),
    ];
    for (n, forgery) in forgeries.into_iter().enumerate() {
        scene.relay.forge(forgery.clone());
        let again = if n == 0 { "[data-action=approve]" } else { "#again" };
        let id = scene.relay.opened_by(browser.click(again)).await;
        scene.relay.steps(id, &UP_TO_DELIVERED);
        scene.relay.steps(id, &UP_TO_VERIFYING);
        scene.relay.close(id, Outcome::Succeeded, None);
        browser.read("#headline", "Not confirmed").await;
        browser.see("[data-step=closed][data-state=bad]").await;
        assert_eq!(browser.text("#compare-title").await, "This was not approved", "{forgery}");
    }
    browser.quit().await;
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_by_keyboard_and_can_be_cancelled() {
    let Some(browser) = Browser::start("the demo's page by keyboard").await else { return };
    let scene = Scene::set().await;
    browser.open(&scene.url).await;
    browser.read("#choose-title", "Good to see you, Ada Lovelace").await;
    let start = async {
        browser.press(Key::Tab).await;
        browser.press(Key::Tab).await;
        browser.press(Key::Enter).await;
    };
    let id = scene.relay.opened_by(start).await;
    browser.read("#run-title", "Sign in").await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    browser.see("[data-step=delivered][data-state=done]").await;
    assert_eq!(browser.text("#live").await, "Your phone shows it now.");
    browser.press(Key::Tab).await;
    assert_eq!(browser.focused().await, "cancel");
    browser.press(Key::Enter).await;
    browser.read("#headline", "Cancelled").await;
    assert_eq!(browser.focused().await, "headline");
    browser.press(Key::Tab).await;
    assert_eq!(browser.focused().await, "again");
    browser.press(Key::Tab).await;
    browser.press(Key::Enter).await;
    browser.see("#choose").await;
    assert_eq!(browser.focused().await, "choose-title");
    browser.quit().await;
    scene.clear().await;
}
