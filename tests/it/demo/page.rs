//! The demo bank's page in a real browser.

use fido_relay_proto::{Outcome, Reason};
use serde_json::json;
use thirtyfour::Key;

use super::browser::{Browser, DARK, LIGHT, NARROW};
use super::scene::{Scene, UP_TO_DELIVERED, UP_TO_VERIFYING};
use crate::support::needs;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_follows_a_payment_from_the_code_to_the_proven_result() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
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
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
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
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    scene.relay.forge(json!({ "client_nonce": "another" }));
    let id = scene.relay.opened_by(browser.click("[data-action=approve]")).await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    scene.relay.steps(id, &UP_TO_VERIFYING);
    scene.relay.close(id, Outcome::Succeeded, None);
    browser.read("#headline", "Not confirmed").await;
    browser.see("[data-step=closed][data-state=bad]").await;
    assert_eq!(browser.text("#compare-title").await, "This was not approved");
    browser.quit().await;
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_by_keyboard_and_can_be_cancelled() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_so_when_the_bank_is_gone() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    let id = scene.relay.opened_by(browser.click("[data-action=sign-in]")).await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    browser.see("[data-step=delivered][data-state=done]").await;
    assert!(!browser.shows("#trouble").await);
    scene.clear().await;
    browser.read("#trouble", "The connection is interrupted. Trying again…").await;
    assert_eq!(browser.text("#live").await, "The connection is interrupted. Trying again…");
    assert!(browser.shows("#code").await, "what is known stays on the page");

    browser.click("#cancel").await;
    browser.see("#trouble").await;
    browser.keep_picture("trouble-light").await;
    browser.quit().await;
}
