//! The demo bank's page for those who hear it.

use std::collections::BTreeSet;

use fido_relay_proto::{Outcome, Step};
use serde_json::{Value, json};

use super::browser::Browser;
use super::scene::{Scene, UP_TO_DELIVERED, UP_TO_VERIFYING};
use crate::support::needs;

/// Keeps every word that the page adds to what is read out.
const LISTEN: &str = "
    window.heard = [];
    new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach(
        (node) => window.heard.push(node.textContent)
    ))).observe(document.getElementById('live'), { childList: true, subtree: true,
        characterData: true });";

async fn heard(browser: &Browser) -> Vec<String> {
    serde_json::from_value(browser.run("return window.heard").await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_is_read_out_once_and_the_time_is_not() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    scene.sign_in(&browser).await;
    browser.run(LISTEN).await;
    let id = scene.relay.opened_by(browser.click("[data-action=approve]")).await;
    browser.see("[data-step=opened][data-state=done]").await;
    // One at a time, then two at once.
    let (alone, together) = UP_TO_VERIFYING.split_at(2);
    for step in UP_TO_DELIVERED.iter().chain(alone) {
        scene.relay.steps(id, &[*step]);
        browser.see(&format!("[data-step={}][data-state=done]", name(*step))).await;
    }
    scene.relay.steps(id, together);
    browser.see("[data-step=verifying][data-state=done]").await;
    let heard = heard(&browser).await;
    let all = heard.join("\n");
    for rung in [
        "Started.",
        "Sent to your phone.",
        "Shown on your phone.",
        "Code accepted.",
        "Challenge made.",
        "Card at the phone.",
        "Answer received.",
    ] {
        assert_eq!(all.matches(rung).count(), 1, "{rung} in {all}");
    }
    assert_eq!(all.matches("Hold your card to the back of the phone").count(), 1, "{all}");
    assert_eq!(all.matches("4 8 1, 2 0 5").count(), 1, "{all}");
    assert_eq!(heard.len(), 7, "nothing but the code and the steps, the last two in one: {all}");

    scene.relay.close(id, Outcome::Succeeded, None);
    browser.read("#headline", "Payment approved").await;
    assert_eq!(browser.text("#live").await, "", "the end is heard with its headline");
    assert!(browser.focus_is_on("#headline").await);
    browser.quit().await;
    scene.clear().await;
}

fn name(step: Step) -> String {
    serde_json::to_value(step).unwrap().as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_code_is_heard_digit_by_digit_and_the_last_half_minute_twice() {
    let Some(chromium) = needs::chromium("the demo's page") else { return };
    let scene = Scene::set().await;
    let browser = Browser::start(&chromium).await;
    browser.open(&scene.url).await;
    browser.see("[data-action=sign-in]").await;
    browser.run(LISTEN).await;
    scene.relay.leave_seconds(11);
    let id = scene.relay.opened_by(browser.click("[data-action=sign-in]")).await;
    scene.relay.steps(id, &UP_TO_DELIVERED);
    browser.see("[data-step=opened][data-state=done]").await;

    let tree = browser.tell("Accessibility.getFullAXTree", json!({})).await;
    let nodes = tree["nodes"].as_array().unwrap();
    let told = |node: &&Value| node["ignored"] == false && node["role"]["value"] == "StaticText";
    let names: BTreeSet<_> =
        nodes.iter().filter(told).filter_map(|node| node["name"]["value"].as_str()).collect();
    assert!(names.contains("4 8 1, 2 0 5"), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("481")), "never as a number: {names:?}");

    browser.read("#left", "Only 9 s left").await;
    browser.see("#time[data-short]").await;
    let of_time: Vec<_> =
        heard(&browser).await.into_iter().filter(|word| word.contains("seconds left")).collect();
    assert_eq!(of_time, ["10 seconds left."], "though it is seen to run");
    browser.quit().await;
    scene.clear().await;
}
