//! The demo bank's page under audit: in every state that it has, on a wide screen by day and on the
//! narrowest by night, by axe-core's rules and by a few that it has not.

use fido_relay_proto::{Outcome, Reason};
use serde_json::{Value, json};
use thirtyfour::Key;

use super::browser::{Browser, LIGHT, NARROW_DARK};
use super::scene::{Scene, UP_TO_DELIVERED, UP_TO_VERIFYING};
use crate::support::needs;

/// What axe-core finds, as `rule: element` each.
pub(crate) const AUDIT: &str = "
    return axe.run(document, {
        resultTypes: ['violations'],
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    }).then((found) => found.violations.flatMap((rule) =>
        rule.nodes.map((node) => `${rule.id}: ${node.target} ${node.failureSummary}`)));";

/// What a finger cannot hit for certain (44 by 44 CSS pixels), and what reaches past the edge.
const TOO_SMALL: &str = "
    return [...document.querySelectorAll('button, summary, a, input')]
        .filter((target) => target.checkVisibility())
        .filter((target) => { const box = target.getBoundingClientRect();
                              return box.width < 44 || box.height < 44; })
        .map((target) => target.textContent);";
const TOO_WIDE: &str = "
    return [...document.querySelectorAll('body *')]
        .filter((element) => element.checkVisibility() && !element.closest('.spoken, svg'))
        .filter((element) => element.getBoundingClientRect().right > innerWidth + .5
                             || element.scrollWidth > element.clientWidth + 1
                                && getComputedStyle(element).display !== 'inline')
        .map((element) => element.outerHTML.slice(0, 80));";

/// A browser that audits what it shows.
struct Auditor {
    browser: Browser,
    axe: String,
}

impl Auditor {
    async fn open(&self, url: &str) {
        self.browser.open(url).await;
        self.browser.run(&self.axe).await;
    }

    async fn passes(&self, state: &str) {
        for (look, name) in [(LIGHT, "wide-light"), (NARROW_DARK, "narrow-dark")] {
            self.browser.look(look).await;
            let none = json!([]);
            assert_eq!(self.browser.run(AUDIT).await, none, "{state}, {name}");
            assert_eq!(self.browser.run(TOO_SMALL).await, none, "{state}, {name}: to be hit");
            assert_eq!(self.browser.run(TOO_WIDE).await, none, "{state}, {name}: too wide");
            let sideways = "return document.documentElement.scrollWidth - innerWidth";
            assert_eq!(self.browser.run(sideways).await, 0, "{state}, {name}: scrolls sideways");
            self.browser.keep_picture(&format!("{state}-{name}")).await;
        }
        self.browser.look(LIGHT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_of_the_page_passes_an_audit() {
    let Some(chromium) = needs::chromium("the audit of the demo's page") else { return };
    let Some(axe) = needs::axe("the audit of the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    let auditor = Auditor { browser, axe };
    let browser = &auditor.browser;
    auditor.open(&scene.url).await;
    browser.see("#signed-out").await;
    auditor.passes("signed-out").await;

    scene.sign_in(browser).await;
    auditor.passes("signed-in").await;

    let id = scene.relay.opened_by(browser.click("[data-action=approve]")).await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    browser.see("[data-step=delivered][data-state=done]").await;
    auditor.passes("code").await;
    scene.relay.steps(id, &UP_TO_VERIFYING[..2]);
    browser.see("[data-step=challenged][data-state=done]").await;
    auditor.passes("card").await;
    scene.relay.steps(id, &UP_TO_VERIFYING[2..]);
    browser.see("[data-step=verifying][data-state=done]").await;
    auditor.passes("checking").await;
    scene.relay.close(id, Outcome::Succeeded, None);
    browser.read("#headline", "Payment approved").await;
    browser.click("#proof summary").await;
    auditor.passes("approved").await;
    browser.click("#back").await;
    browser.see("#approved").await;
    auditor.passes("settled").await;

    for (outcome, reason, state) in [
        (Outcome::Denied, Some(Reason::NotMe), "not-me"),
        (Outcome::Failed, Some(Reason::PinFailed), "failed"),
        (Outcome::Expired, Some(Reason::Deadline), "expired"),
        (Outcome::Indeterminate, Some(Reason::Interrupted), "indeterminate"),
    ] {
        let id = scene.relay.opened_by(browser.click("[data-action=register]")).await;
        scene.relay.close(id, outcome, reason);
        browser.see("#again").await;
        auditor.passes(state).await;
        browser.click("#back").await;
    }

    scene.relay.leave_seconds(12);
    let id = scene.relay.opened_by(browser.click("[data-action=register]")).await;
    browser.see("#time[data-short]").await;
    auditor.passes("short").await;
    scene.relay.close(id, Outcome::Cancelled, None);
    browser.click("#back").await;

    scene.relay.leave_seconds(120);
    scene.relay.opened_by(browser.click("[data-action=register]")).await;
    browser.click("#cancel").await;
    browser.see("#notice strong").await;
    auditor.passes("notice").await;

    scene.relay.opened_by(browser.click("[data-action=register]")).await;
    scene.clear().await;
    browser.see("#trouble").await;
    auditor.passes("trouble").await;
    let late = "const now = performance.now.bind(performance);
                performance.now = () => now() + 200_000";
    browser.run(late).await;
    browser.read("#headline", "We do not know how this ended").await;
    auditor.passes("unknown").await;
    auditor.browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_script_or_bank_is_gone_says_so() {
    let Some(chromium) = needs::chromium("the audit of the demo's page") else { return };
    let Some(axe) = needs::axe("the audit of the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    let auditor = Auditor { browser, axe };
    let browser = &auditor.browser;
    browser.tell("Network.enable", json!({})).await;
    browser.tell("Network.setBlockedURLs", json!({ "urls": ["*/ladder.js"] })).await;
    auditor.open(&scene.url).await;
    browser.read("#without-script strong", "The buttons are missing").await;
    let seen = "const style = getComputedStyle(document.getElementById('without-script'));
                return Promise.all(document.getAnimations().map((animation) => animation.finished))
                    .then(() => style.opacity)";
    assert_eq!(browser.run(seen).await, "1");
    let buttons = "return [...document.querySelectorAll('button')]
                       .filter((button) => button.checkVisibility()).length";
    assert_eq!(browser.run(buttons).await, 0, "none that would do nothing");
    auditor.passes("without-script").await;

    browser.tell("Network.setBlockedURLs", json!({ "urls": [] })).await;
    auditor.open(&scene.url).await;
    browser.see("[data-action=sign-in]").await;
    assert_eq!(browser.run("return document.querySelector('#without-script')").await, Value::Null);
    scene.clear().await;
    browser.enter("[data-action=sign-in]").await;
    browser.read("#problem strong", "The bank does not answer").await;
    assert!(browser.focus_is_on("[data-action=sign-in]").await, "to try again from");
    auditor.passes("problem").await;
    browser.press(Key::Escape).await;
    assert!(browser.shows("#problem").await);
    auditor.browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_of_two_colours_still_tells_every_state_of_the_ladder_apart() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    let forced = json!({ "features": [{ "name": "forced-colors", "value": "active" }] });
    browser.tell("Emulation.setEmulatedMedia", forced).await;
    let id = scene.relay.opened_by(browser.click("[data-action=sign-in]")).await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    browser.see("[data-step=claimed][data-state=next]").await;
    browser.keep_picture("code-forced").await;
    let words = "return ['opened', 'claimed', 'challenged'].map((step) =>
                     document.querySelector(`[data-step=${step}] .spoken`).textContent)";
    assert_eq!(browser.run(words).await, json!([", done", ", in progress", ", not yet"]));
    let shape = "return ['opened', 'claimed', 'challenged'].map((step) => {
                     const { width, borderBottomWidth } = getComputedStyle(
                         document.querySelector(`[data-step=${step}] .dot`), '::before');
                     return [width, borderBottomWidth].join() }).filter((x, n, all) =>
                         all.indexOf(x) === n).length";
    assert_eq!(browser.run(shape).await, 3, "a tick, a spot and nothing");
    scene.relay.close(id, Outcome::Denied, Some(Reason::Declined));
    browser.read("#headline", "Declined on your phone").await;
    browser.keep_picture("declined-forced").await;
    browser.quit().await;
    scene.clear().await;
}
