//! A page that does not hear how its ceremony ended.

use fido_relay_proto::{CeremonyId, Outcome};

use super::browser::Browser;
use super::scene::{Scene, UP_TO_DELIVERED, UP_TO_VERIFYING};
use super::scripted_relay::Reach;
use crate::support::needs;

const HEADLINE: &str = "We do not know how this ended";

/// Takes the page beyond the end of the ceremony's time and beyond the grace that it gives.
async fn time_passes(browser: &Browser) {
    let late = "const now = performance.now.bind(performance);
                performance.now = () => now() + 200_000";
    browser.run(late).await;
}

/// A ceremony whose card has answered when the relay goes out of reach for good.
async fn lost(scene: &Scene, browser: &Browser, action: &str) -> CeremonyId {
    let id = scene.relay.opened_by(browser.click(action)).await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    scene.relay.steps(id, &UP_TO_VERIFYING);
    browser.see("[data-step=verifying][data-state=done]").await;
    scene.relay.reach(Reach::Refuses);
    browser.see("#trouble").await;
    time_passes(browser).await;
    browser.read("#headline", HEADLINE).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_hears_no_end_claims_none_and_asks_again() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    scene.sign_in(&browser).await;
    let id = lost(&scene, &browser, "[data-action=approve]").await;
    assert!(browser.focus_is_on("#headline").await);
    let title = "We do not know how this ended – Approve the payment – Harbour Bank (demo)";
    assert_eq!(browser.title().await, title);
    let detail = browser.text("#detail").await;
    assert!(detail.contains("may be approved or not"), "{detail}");
    assert_eq!(browser.text("#compare-title").await, "This may have been approved or not");
    browser.see("[data-step=closed][data-state=unknown]").await;
    browser.see("[data-step=verifying][data-state=done]").await;
    assert!(!browser.has("[data-state=bad]").await, "nothing is said to have failed");
    browser.keep_picture("demo-unknown").await;

    browser.click("#again").await;
    let still = "There is still no answer. The payment may be approved or not.";
    browser.read("#detail", still).await;
    assert!(browser.focus_is_on("#headline").await, "and is heard");

    // Loaded again, the page asks again.
    scene.relay.reach(Reach::Answers);
    scene.relay.close(id, Outcome::Succeeded, None);
    browser.open(&scene.url).await;
    browser.read("#headline", "Payment approved").await;
    browser.quit().await;
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_asks_again_shows_what_it_hears() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    for (outcome, headline) in
        [(Outcome::Expired, "Time ran out"), (Outcome::Succeeded, "Card registered")]
    {
        let id = lost(&scene, &browser, "[data-action=register]").await;
        scene.relay.reach(Reach::Answers);
        scene.relay.close(id, outcome, None);
        browser.click("#again").await;
        browser.read("#headline", headline).await;
        browser.open(&scene.url).await;
        browser.see("[data-action=register]").await;
    }
    browser.quit().await;
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_waits_for_no_answer_without_end() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    let id = scene.relay.opened_by(browser.click("[data-action=sign-in]")).await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    browser.see("[data-step=opened][data-state=done]").await;
    let hasty = "const timeout = AbortSignal.timeout;
                 AbortSignal.timeout = () => timeout.call(AbortSignal, 100)";
    browser.run(hasty).await;
    scene.relay.reach(Reach::Swallows);
    scene.relay.steps(id, &UP_TO_VERIFYING);
    browser.see("#trouble").await;
    time_passes(&browser).await;
    browser.read("#headline", HEADLINE).await;
    browser.quit().await;
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_that_has_forgotten_the_ceremony_leaves_its_end_open() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let (scene, another) = (Scene::set().await, Scene::set().await);
    let browser = Browser::start(&chromium).await;
    browser.open(&another.url).await;
    another.relay.opened_by(browser.click("[data-action=register]")).await;
    browser.see("#waiting").await;
    let kept = browser.run("return sessionStorage.getItem('ceremony')").await;
    browser.open(&scene.url).await;
    browser.run(&format!("sessionStorage.setItem('ceremony', {kept})")).await;
    browser.open(&scene.url).await;
    browser.read("#headline", HEADLINE).await;
    let detail = "The bank does not remember what this page was waiting for. \
                  The card may be registered or not.";
    browser.read("#detail", detail).await;
    browser.read("#again", "Start again").await;
    scene.relay.opened_by(browser.click("#again")).await;
    browser.see("#waiting").await;
    browser.quit().await;
    scene.clear().await;
    another.clear().await;
}
