//! The demo bank's page in a real browser.

use fido_relay_proto::{Outcome, Reason};
use serde_json::json;
use thirtyfour::Key;

use super::browser::Browser;
use super::scene::{Scene, UP_TO_DELIVERED, UP_TO_VERIFYING};
use crate::support::needs;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_follows_a_payment_from_the_code_to_the_proven_result() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    scene.sign_in(&browser).await;

    let click = browser.click("[data-action=approve]");
    let id = scene.relay.opened_by(click).await;
    browser.read("#run-title", "Approve the payment").await;
    assert_eq!(browser.text("#code-digits").await, "481205");
    assert_eq!(browser.title().await, "Type the code – Approve the payment – Harbour Bank (demo)");
    assert_eq!(browser.focused().await, "run-title");
    assert!(browser.text("#compare").await.contains("Rowan & Daughters"));

    scene.relay.steps(id, &UP_TO_DELIVERED);
    browser.see("[data-step=delivered][data-state=done]").await;
    browser.see("[data-step=claimed][data-state=next]").await;
    browser.read("[data-step=claimed] .name", "Type the code into the phone").await;
    browser.read("[data-step=claimed] .by", "you").await;
    browser.read("#actor", "Your turn").await;
    browser.read("#ask", "Type this code into the app on your phone").await;

    scene.relay.steps(id, &UP_TO_VERIFYING[..2]);
    browser.read("#ask", "Hold your card to the back of the phone, and enter its PIN there").await;
    browser.read("[data-step=claimed] .name", "Code accepted").await;
    browser.read("[data-step=card][data-state=next] .name", "Hold your card to the phone").await;
    let waits = "Hold your card to the phone – Approve the payment – Harbour Bank (demo)";
    assert_eq!(browser.title().await, waits);
    assert!(!browser.shows("#code").await, "a code that was typed is of no more use");

    scene.relay.steps(id, &UP_TO_VERIFYING[2..]);
    scene.relay.close(id, Outcome::Succeeded, None);
    browser.read("#headline", "Payment approved").await;
    assert_eq!(browser.focused().await, "headline");
    let ended = "Payment approved – Approve the payment – Harbour Bank (demo)";
    assert_eq!(browser.title().await, ended);
    assert!(browser.text("#checked").await.contains("covered by the card's own signature"));
    browser.see("[data-step=closed][data-state=done]").await;
    browser.click("#proof summary").await;

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
        (Outcome::Cancelled, None, "Cancelled"),
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
        let advised = outcome != Outcome::Cancelled;
        assert_eq!(browser.shows("#advice").await, advised, "{headline}: says what to do");
        browser.see("#again").await;
        browser.see("[data-step=closed][data-state=bad]").await;
        browser.see("[data-step=card][data-state=skipped]").await;
        assert!(!browser.shows("#proof").await, "there is nothing to prove");
    }
    browser.quit().await;
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_the_bank_cannot_prove_is_not_shown_as_one() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    scene.sign_in(&browser).await;
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
async fn whoever_cancels_is_back_where_they_were() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    browser.see("[data-action=register]").await;
    let id = scene.relay.opened_by(browser.enter("[data-action=register]")).await;
    browser.read("#run-title", "Register a card").await;
    assert_eq!(browser.focused().await, "run-title");
    scene.relay.steps(id, &UP_TO_DELIVERED);
    browser.see("[data-step=opened][data-state=done]").await;
    browser.enter("#cancel").await;
    browser.read("#notice strong", "Cancelled").await;
    assert!(browser.focus_is_on("[data-action=register]").await, "on the button that began it");
    assert_eq!(browser.title().await, "Harbour Bank (demo)");
    assert!(scene.told.text().contains("closed      cancelled"), "{}", scene.told.text());

    let id = scene.relay.opened_by(browser.press(Key::Enter)).await;
    browser.read("#run-title", "Register a card").await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    scene.relay.steps(id, &UP_TO_VERIFYING);
    browser.see("#cancel[aria-disabled=true]").await;
    browser.enter("#cancel").await;
    assert!(browser.text("#live").await.contains("It is too late to cancel"), "and says why");
    assert_eq!(browser.focused().await, "cancel", "a button that is off loses nobody");
    browser.quit().await;
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_the_code_and_the_ceremony_until_its_end() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    let id = scene.relay.opened_by(browser.click("[data-action=sign-in]")).await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    browser.see("[data-step=claimed][data-state=next]").await;
    browser.open(&scene.url).await;
    browser.read("#run-title", "Sign in").await;
    browser.see("[data-step=claimed][data-state=next]").await;
    assert_eq!(browser.text("#code-digits").await, "481205");
    assert_eq!(browser.focused().await, "run-title");

    scene.relay.steps(id, &UP_TO_VERIFYING[..2]);
    browser.open(&scene.url).await;
    browser.see("[data-step=card][data-state=next]").await;
    assert!(!browser.shows("#code").await, "a code that was typed is of no more use");
    assert_eq!(browser.text("#code-digits").await, "");

    // It ends while the page is away: the page that returns still tells the end, once.
    browser.open("about:blank").await;
    scene.relay.steps(id, &UP_TO_VERIFYING[2..]);
    scene.relay.close(id, Outcome::Succeeded, None);
    browser.open(&scene.url).await;
    browser.read("#headline", "You are signed in").await;
    browser.open(&scene.url).await;
    browser.read("#choose-title", "Good to see you, Ada Lovelace").await;

    let id = scene.relay.opened_by(browser.click("[data-action=approve]")).await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    browser.see("[data-step=claimed][data-state=next]").await;
    browser.open(&scene.url).await;
    browser.read("#compare [data-payment=title]", "Payment to Rowan & Daughters").await;
    browser.click("#cancel").await;
    browser.read("#notice strong", "Cancelled").await;
    browser.open(&scene.url).await;
    browser.see("[data-action=approve]").await;
    assert!(!browser.shows("#run").await);
    browser.quit().await;
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_not_me_the_page_says_when_the_phone_rings_again() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    let id = scene.relay.opened_by(browser.click("[data-action=sign-in]")).await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    scene.relay.close(id, Outcome::Denied, Some(Reason::NotMe));
    browser.read("#headline", "Reported on your phone").await;

    let silent = scene.relay.opened_by(browser.click("#again")).await;
    browser.see("#silence").await;
    for _ in 0..2 {
        let ask = browser.text("#ask").await;
        let left =
            ask.strip_prefix("Your phone rings again in ").and_then(|it| it.strip_suffix(" s"));
        assert!(matches!(left.unwrap().parse(), Ok(1..=60)), "{ask}");
        assert!(!browser.shows("#code").await, "there is nowhere to type it");
        assert!(!browser.shows("#restart").await, "and nothing to do but to wait");
        assert_eq!(browser.title().await, "Wait – Sign in – Harbour Bank (demo)");
        browser.keep_picture("demo-silent").await;
        // A reload keeps the countdown.
        browser.open(&scene.url).await;
        browser.see("#silence").await;
    }
    browser.run("const now = Date.now; Date.now = () => now() + 61_000").await;
    browser.read("#ask", "Start again: your phone can ring").await;
    browser.click("#restart").await;
    scene.relay.ended(silent).await;
    let opened = "asks the bank, and the bank the relay";
    assert_eq!(scene.told.text().matches(opened).count(), 3, "{}", scene.told.text());
    browser.quit().await;
    scene.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_is_picked_up_by_whoever_means_to_and_by_no_stray_click() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    let granted = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
    browser.tell("Browser.grantPermissions", granted).await;
    let id = scene.relay.opened_by(browser.click("[data-action=sign-in]")).await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    browser.click("#code-digits").await;
    assert_eq!(browser.run("return getSelection().toString()").await, "");
    browser.click("#copy").await;
    browser.read("#copy", "Copied").await;
    assert_eq!(browser.run("return navigator.clipboard.readText()").await, "481205");
    let whole = "getSelection().selectAllChildren(document.getElementById('code')); \
                 return getSelection().toString().trim()";
    assert_eq!(browser.run(whole).await, "481205", "without gap, and without what is heard");
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
    browser.see("[data-step=opened][data-state=done]").await;
    assert!(!browser.shows("#trouble").await);
    scene.clear().await;
    let trouble = "The connection is interrupted. Trying again…";
    browser.read("#trouble", trouble).await;
    assert_eq!(browser.text("#live p:last-child").await, trouble);
    assert!(browser.shows("#code").await, "what is known stays on the page");

    browser.click("#cancel").await;
    browser.see("#trouble").await;
    browser.quit().await;
}
