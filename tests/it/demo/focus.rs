//! Where the keyboard is after every change of the demo bank's page: never at its top again.

use fido_relay_proto::{Outcome, Reason};
use thirtyfour::Key;

use super::browser::Browser;
use super::scene::{Scene, UP_TO_DELIVERED, UP_TO_VERIFYING};
use crate::support::needs;

/// The keyboard is at this element, and it is seen.
async fn is_at(browser: &Browser, id: &str, when: &str) {
    let at = "const at = document.activeElement;
              return at === document.body || !at.checkVisibility() ? '(nowhere)' : at.id";
    assert_eq!(browser.run(at).await, id, "{when}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_follows_every_change_of_the_page() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    browser.see("[data-action=register]").await;

    let id = scene.relay.opened_by(browser.enter("[data-action=register]")).await;
    browser.see("#waiting").await;
    is_at(&browser, "run-title", "a ceremony has begun").await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    browser.see("[data-step=opened][data-state=done]").await;
    is_at(&browser, "run-title", "steps that the page is not shown").await;
    browser.enter("#copy").await;
    is_at(&browser, "copy", "the code was copied").await;
    scene.relay.steps(id, &UP_TO_VERIFYING[..2]);
    browser.see("[data-step=challenged][data-state=done]").await;
    is_at(&browser, "ask", "the button that was pressed went away with the code").await;
    browser.open(&scene.url).await;
    browser.see("[data-step=challenged][data-state=done]").await;
    is_at(&browser, "run-title", "the page was loaded again").await;
    scene.relay.close(id, Outcome::Denied, Some(Reason::NotMe));
    browser.see("#headline").await;
    is_at(&browser, "headline", "it has ended").await;

    let id = scene.relay.opened_by(browser.enter("#again")).await;
    browser.see("#silence").await;
    is_at(&browser, "run-title", "it was started again").await;
    browser.run("const now = Date.now; Date.now = () => now() + 61_000").await;
    browser.see("#restart").await;
    browser.run("document.getElementById('restart').focus()").await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    scene.relay.steps(id, &UP_TO_VERIFYING[..1]);
    browser.see("[data-step=claimed][data-state=done]").await;
    is_at(&browser, "ask", "there is nothing to start again any more").await;
    scene.relay.close(id, Outcome::Expired, Some(Reason::Deadline));
    browser.see("#headline").await;
    browser.enter("#back").await;
    browser.see("#choose").await;
    is_at(&browser, "choose-title", "back on the overview").await;

    scene.sign_in(&browser).await;
    is_at(&browser, "choose-title", "signed in").await;
    let one = browser.tab().await;
    browser.run("document.querySelector('[data-action=approve]').focus()").await;
    browser.new_tab(&scene.url).await;
    browser.see("#sign-out").await;
    browser.enter("#sign-out").await;
    browser.read("#notice strong", "You are signed out").await;
    is_at(&browser, "choose-title", "signed out").await;
    browser.close_tab(&one).await;
    browser.see("#signed-out").await;
    is_at(&browser, "choose-title", "signed out in another tab").await;

    scene.relay.opened_by(browser.enter("[data-action=sign-in]")).await;
    browser.see("#waiting").await;
    browser.enter("#cancel").await;
    browser.see("#notice strong").await;
    assert!(browser.focus_is_on("[data-action=sign-in]").await, "on the button that began it");
    scene.clear().await;
    browser.press(Key::Enter).await;
    browser.see("#problem strong").await;
    assert!(browser.focus_is_on("[data-action=sign-in]").await, "on the button that did not work");
    browser.quit().await;
}
