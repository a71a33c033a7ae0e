//! `/docs` in a real browser: a page that is whole in itself, for every screen and reader.

use serde_json::{Value, json};

use crate::demo::browser::{Browser, DARK, LIGHT, NARROW, NARROW_DARK};
use crate::support::needs;
use crate::support::relay::{TestRelay, http};

/// What axe-core finds, as `rule: element` each: all its rules but contrast over the whole page,
/// and contrast, which looks at every pixel's owner, over one part of each kind.
const AUDIT: &str = "
    return axe.run(document, {
        resultTypes: ['violations'],
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
        rules: { 'color-contrast': { enabled: false } },
    }).then((found) => found.violations.flatMap((rule) =>
        rule.nodes.map((node) => `${rule.id}: ${node.target}`)));";
const CONTRAST: &str = "
    return axe.run({ include: [['header'], ['#find ~ *'], ['#about ~ p'], ['#call-post-v1-ceremonies'],
                               ['#call-delete-v1-ceremonies-id h3'], ['#channel-ceremonysocket']] }, {
        resultTypes: ['violations'],
        runOnly: ['color-contrast'],
    }).then((found) => found.violations.flatMap((rule) =>
        rule.nodes.map((node) => `${rule.id}: ${node.target}`)));";
/// Where everything on the page came from.
const FETCHED: &str = "
    return performance.getEntriesByType('resource').map((entry) => entry.name)
        .filter((name) => !name.startsWith('data:'));";

/// Links within the page that lead nowhere.
const LOST: &str = "
    return [...document.querySelectorAll('a[href^=\"#\"]')].map((link) => link.hash.slice(1))
        .filter((name) => !document.getElementById(name));";

/// By fields, messages and errors, in words of any order; what is found stays for the audit.
async fn search(browser: &Browser) {
    let query = browser.see("#query").await;
    for (words, count, first) in [
        ("xyzzy", "0 found", ""),
        ("changed their mind not_me", "", "#message-devicesocket-decline"),
        ("idempotency_mismatch same key", "", "#error-idempotency-mismatch"),
    ] {
        query.clear().await.unwrap();
        query.send_keys(words).await.unwrap();
        let found = browser.text("#count").await;
        assert!(found.ends_with(count) && found.ends_with(" found"), "{words}: {found}");
        let links = "return [...document.querySelectorAll('#found a')].map((link) => link.hash)";
        let links = browser.run(links).await;
        let links = links.as_array().unwrap();
        assert!(first.is_empty() == links.is_empty(), "{words}: {links:?}");
        assert!(first.is_empty() || links.contains(&json!(first)), "{words}: {links:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_interface_reads_well_on_every_screen_and_asks_nobody_for_anything() {
    let relay = TestRelay::start().await;
    let url = format!("{}/docs", relay.url());
    let response = http().get(&url).send().await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    let text = response.text().await.unwrap();
    assert_eq!(text.matches("<script").count(), 1, "its own, which the policy names");

    let Some(chromium) = needs::chromium("the page of the interface") else { return };
    let Some(axe) = needs::axe("the audit of the page of the interface") else { return };
    let browser = Browser::start(&chromium).await;
    browser.tell("Log.enable", json!({})).await;
    browser.open(&url).await;
    browser.see("#channel-devicesocket").await;
    // The style counts: its digest is the one that the policy allows.
    let grid = "return getComputedStyle(document.body).display";
    assert_eq!(browser.run(grid).await, "grid");
    assert_eq!(browser.run(FETCHED).await, json!([]), "nothing was asked for");
    assert_eq!(browser.run(LOST).await, json!([]), "links that lead nowhere");
    let links = "return [...document.querySelectorAll('a:not([href^=\"#\"])')].map((a) => a.host)";
    let own = browser.run("return location.host").await;
    let Value::Array(hosts) = browser.run(links).await else { panic!("no hosts") };
    assert!(!hosts.is_empty() && hosts.iter().all(|host| *host == own), "{hosts:?}");
    search(&browser).await;
    browser.run(&axe).await;
    for (look, name) in
        [(LIGHT, "light"), (DARK, "dark"), (NARROW, "narrow"), (NARROW_DARK, "narrow-dark")]
    {
        browser.look(look).await;
        let sideways = "return document.documentElement.scrollWidth - innerWidth";
        assert_eq!(browser.run(sideways).await, 0, "{name}: scrolls sideways");
    }
    for (look, name) in [(LIGHT, "light"), (DARK, "dark")] {
        browser.look(look).await;
        assert_eq!(browser.run(CONTRAST).await, json!([]), "{name}");
    }
    assert_eq!(browser.run(AUDIT).await, json!([]));
    browser.quit().await;
}
