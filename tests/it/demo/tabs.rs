//! The demo bank's page in more than one tab, and in one that is closed.

use std::time::Duration;

use fido_relay_proto::{Outcome, Reason};

use super::browser::Browser;
use super::scene::{Scene, UP_TO_DELIVERED, UP_TO_VERIFYING};
use crate::support::needs;

#[tokio::test(flavor = "multi_thread")]
async fn each_tab_shows_its_own_ceremony_and_the_same_account() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    scene.relay.show_codes(&["111222", "333444"]);
    browser.open(&scene.url).await;
    let one = browser.tab().await;
    let signs_in = scene.relay.opened_by(browser.click("[data-action=sign-in]")).await;
    let two = browser.new_tab(&scene.url).await;
    let registers = scene.relay.opened_by(browser.click("[data-action=register]")).await;
    browser.read("#run-title", "Register a card").await;
    assert_eq!(browser.text("#code-digits").await, "333444");
    browser.turn_to(&one).await;
    browser.read("#run-title", "Sign in").await;
    assert_eq!(browser.text("#code-digits").await, "111222");

    scene.relay.steps(registers, &UP_TO_DELIVERED);
    scene.relay.close(registers, Outcome::Denied, Some(Reason::Declined));
    scene.relay.steps(signs_in, &UP_TO_DELIVERED);
    scene.relay.steps(signs_in, &UP_TO_VERIFYING);
    scene.relay.close(signs_in, Outcome::Succeeded, None);
    browser.read("#headline", "You are signed in").await;
    browser.click("#back").await;
    browser.turn_to(&two).await;
    browser.read("#headline", "Declined on your phone").await;
    browser.read("#who-name", "ada@harbour.example").await;
    browser.click("#back").await;
    browser.read("#choose-title", "Good to see you, Ada Lovelace").await;

    // What is done in one tab, the other shows by itself.
    let pays = scene.relay.opened_by(browser.click("[data-action=approve]")).await;
    scene.relay.close(pays, Outcome::Succeeded, None);
    browser.read("#headline", "Payment approved").await;
    browser.turn_to(&one).await;
    browser.see("#approved").await;
    browser.click("#sign-out").await;
    browser.read("#choose-title", "Welcome to Harbour Bank").await;
    browser.turn_to(&two).await;
    browser.gone("#sign-out").await;
    browser.quit().await;
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_in_one_tab_takes_back_what_another_asks_for() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    let one = browser.tab().await;
    scene.sign_in(&browser).await;
    let pays = scene.relay.opened_by(browser.click("[data-action=approve]")).await;
    browser.see("#waiting").await;
    browser.new_tab(&scene.url).await;
    browser.click("#sign-out").await;
    scene.relay.ended(pays).await;
    browser.turn_to(&one).await;
    browser.read("#headline", "Cancelled").await;
    browser.gone("#who").await;
    assert!(!browser.shows("#compare").await, "nothing of a customer's stays on the page");
    browser.quit().await;
    scene.clear().await;
}

/// Beyond what a page takes to load again, also on a busy machine.
const LEFT_LIMIT: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_tab_takes_its_ceremony_back_and_a_reload_does_not() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::that_gives(LEFT_LIMIT).await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    let one = browser.tab().await;
    let stays = scene.relay.opened_by(browser.click("[data-action=sign-in]")).await;
    scene.relay.steps(stays, &UP_TO_DELIVERED);
    browser.see("[data-step=opened][data-state=done]").await;
    browser.open(&scene.url).await;
    browser.see("[data-step=opened][data-state=done]").await;

    // The same ceremony in two tabs: closing one leaves it to the other.
    browser.copy_tab().await;
    browser.see("[data-step=opened][data-state=done]").await;
    assert_eq!(browser.text("#run-title").await, "Sign in");
    browser.close_tab(&one).await;

    browser.new_tab(&scene.url).await;
    let goes = scene.relay.opened_by(browser.click("[data-action=register]")).await;
    browser.see("#waiting").await;
    browser.close_tab(&one).await;
    scene.relay.ended(goes).await;
    let told = scene.told.text();
    assert!(told.contains("its tab is closed: the bank takes this back"), "{told}");
    assert!(scene.relay.is_pending(stays), "what was left before that has come back: {told}");
    scene.relay.close(stays, Outcome::Denied, Some(Reason::Declined));
    browser.read("#headline", "Declined on your phone").await;

    // A page that is left for another is given up like one that is closed, and says so if it returns.
    let left = scene.relay.opened_by(browser.click("#again")).await;
    browser.see("#waiting").await;
    browser.open("about:blank").await;
    scene.relay.ended(left).await;
    browser.back().await;
    browser.read("#headline", "Cancelled").await;
    browser.quit().await;
    scene.clear().await;
}
