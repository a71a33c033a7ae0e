//! The sample of `examples/react`: its page in a real browser, its backend as a process of its own,
//! a real relay with the built-in FIDO2 server, a simulated phone and card.

use fido_relay_proto::CeremonyId;
use serde_json::json;
use tokio::process::Command;

use super::package::{Project, done, project, tool};
use crate::demo::browser::Browser;
use crate::support::child::ChildProcess;
use crate::support::needs::{self, Node};
use crate::support::relay::{Initiator, TestPhone, TestRelay};

const WHAT: &str = "the sample in React";
const USERNAME: &str = "ada@example.com";

/// Bundles the page with React's own checks, among them StrictMode's second mount.
async fn bundle(node: &Node, project: &Project) {
    let folder = project.root.join("examples/react");
    let mut esbuild = tool(node, "esbuild/bin/esbuild");
    esbuild.args(["--bundle", "--define:process.env.NODE_ENV=\"development\""]);
    done(esbuild.args(["src/main.tsx", "--outfile=public/app.js"]).current_dir(folder)).await;
}

/// The sample, open, and its user with phone and card.
struct Shop {
    url: String,
    _process: ChildProcess,
    _relay: TestRelay,
    initiator: Initiator,
    phone: TestPhone,
}

impl Shop {
    async fn open(node: &Node) -> Self {
        let project = project(node).await;
        let relay = TestRelay::start().await;
        let initiator = relay.initiator().await;
        let phone = relay.phone(&initiator, USERNAME).await;
        let card = initiator.open(&json!({ "type": "registration", "username": USERNAME })).await;
        phone.types(&card);
        assert_eq!(initiator.outcome(card.id).await.id, card.id);
        let mut server = Command::new(&node.program);
        server
            .args(["server.mjs", "127.0.0.1:0"])
            .current_dir(project.root.join("examples/react"))
            .env("FIDO_RELAY_URL", relay.url())
            .env("FIDO_RELAY_API_KEY", &initiator.key);
        let mut process = ChildProcess::start(&mut server);
        let (url, ()) = tokio::join!(process.prints("open: "), bundle(node, project));
        initiator.list_page(&relay, &url).await;
        Self { url, _process: process, _relay: relay, initiator, phone }
    }

    /// The person reads the code in the page and types it into the app.
    fn types(&self, (id, code): (CeremonyId, String)) {
        self.phone.codes.provide(id, code);
    }
}

/// Asks to sign in, and gives the ceremony and the code that the page shows.
async fn begins(browser: &Browser) -> (CeremonyId, String) {
    browser.see("[name=username]").await.send_keys(USERNAME).await.unwrap();
    browser.click("form button").await;
    browser.see("#code").await;
    let attempt = browser.run("return JSON.parse(sessionStorage.getItem('attempt'))").await;
    let id = serde_json::from_value(attempt["id"].clone()).unwrap();
    (id, browser.text("#code").await)
}

/// The same, with a page that follows it.
async fn asks(browser: &Browser) -> (CeremonyId, String) {
    let begun = begins(browser).await;
    browser.read("[data-steps]", "Open the app on your phone and type this code.").await;
    reads_steps(browser).await;
    begun
}

/// The page has heard of the opening, once.
async fn reads_steps(browser: &Browser) {
    browser.see("[data-steps=opened]").await;
}

async fn offline(browser: &Browser, offline: bool) {
    let conditions = json!({
        "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1,
    });
    // Without it the page hears that it is offline, and is not.
    browser.tell("Network.enable", json!({})).await;
    browser.tell("Network.emulateNetworkConditions", conditions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_page_in_strict_mode_shows_each_step_once_also_over_a_reload_and_signs_in() {
    let Some(node) = needs::node(WHAT) else { return };
    let Some(chromium) = needs::chromium(WHAT) else { return };
    let shop = Shop::open(&node).await;
    let browser = Browser::start(&chromium).await;
    browser.open(&shop.url).await;
    let asked = asks(&browser).await;
    browser.keep_picture("react-code").await;
    browser.open(&shop.url).await;
    browser.read("[data-steps]", "Open the app on your phone and type this code.").await;
    assert_eq!(browser.text("#code").await, asked.1);
    reads_steps(&browser).await;
    shop.types(asked);
    browser.read("[role=status]", &format!("You are signed in as {USERNAME}.")).await;
    browser.click("button").await;
    browser.see("form").await;
    let (id, _) = asks(&browser).await;
    browser.click("section button").await;
    browser.read("[role=status]", "Cancelled. You are not signed in.").await;
    assert_eq!(serde_json::to_value(shop.initiator.outcome(id).await.status).unwrap(), "cancelled");
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_other_tab_says_that_the_first_signed_in_and_takes_its_own_prompt_back() {
    let Some(node) = needs::node(WHAT) else { return };
    let Some(chromium) = needs::chromium(WHAT) else { return };
    let shop = Shop::open(&node).await;
    let browser = Browser::start(&chromium).await;
    browser.open(&shop.url).await;
    let first = asks(&browser).await;
    let tab = browser.tab().await;
    browser.new_tab(&shop.url).await;
    let second = begins(&browser).await;
    assert_ne!(first, second);
    shop.types(first);
    let signed_in = format!("You are signed in as {USERNAME}.");
    browser.read("[role=status]", &signed_in).await;
    let end = shop.initiator.outcome(second.0).await.status;
    assert_eq!(serde_json::to_value(end).unwrap(), "cancelled");
    browser.turn_to(&tab).await;
    browser.read("[role=status]", &signed_in).await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_page_says_that_it_is_offline_and_catches_up_with_what_the_phone_did_meanwhile() {
    let Some(node) = needs::node(WHAT) else { return };
    let Some(chromium) = needs::chromium(WHAT) else { return };
    let shop = Shop::open(&node).await;
    let browser = Browser::start(&chromium).await;
    browser.open(&shop.url).await;
    let asked = asks(&browser).await;
    let id = asked.0;
    offline(&browser, true).await;
    let trouble = "This page has no connection at the moment. \
                   You may go on in the app; the page follows by itself.";
    browser.read(".trouble", trouble).await;
    browser.keep_picture("react-offline").await;
    shop.types(asked);
    assert_eq!(shop.initiator.outcome(id).await.id, id);
    assert!(browser.shows("[role=timer]").await, "the page has not heard of it");
    offline(&browser, false).await;
    browser.read("[role=status]", &format!("You are signed in as {USERNAME}.")).await;
    browser.quit().await;
}
