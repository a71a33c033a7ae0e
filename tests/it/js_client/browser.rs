//! The client's built modules in a real browser: a shop's page, the same over React Native's fetch,
//! and an app in a web view.

use fido_relay_proto::Outcome;
use fido_relay_proto::http::Status;
use serde_json::{Value, json};

use super::{PATIENCE, build, package};
use crate::demo::browser::Browser;
use crate::support::accepting_server::{accepting_server, upstream_at};
use crate::support::needs;
use crate::support::own_port::OwnPort;
use crate::support::relay::{TestRelay, http};
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

/// The page of a shop that watches with the built modules, as a bundler would ship them.
const PAGE: &str = r#"<!doctype html><title>shop</title><p id="steps">steps</p><p id="end"></p>
<script type="module">
  import { watchCeremony } from "/client/index.js";
  const given = new URLSearchParams(location.hash.slice(1));
  const show = ({ seq, step }) => document.querySelector("p").append(` ${seq} ${step}`);
  const end = document.querySelector("p + p");
  try {
    const onState = ({ kind, why }) => {
      document.title = why ?? kind;
    };
    const watch = watchCeremony(given.get("url"), given.get("ticket"), { onEvent: show, onState });
    end.textContent = (await watch.closed).status;
  } catch (error) {
    end.textContent = `${error.name} ${error.status}`;
  }
</script>"#;

/// An app in a page, as web views are. What it posts goes by the app's own network, which is the
/// test: the relay lets no page pair devices.
const APP: &str = r#"<!doctype html><title>app</title><p id="steps">steps</p><p id="end"></p>
<script type="module">
  import {
    DeviceSocket, indexedDbStorage, pairDevice, parsePairingLink, storedDevice, storedSigner,
  } from "/client/index.js";
  const show = (text) => document.querySelector("p").append(` ${text}`);
  const native = (url, { body }) => new Promise((resolve) => {
    window.posts = JSON.stringify({ url, body: JSON.parse(body) });
    window.answered = (status, text) => {
      delete window.posts;
      resolve(new Response(text, { status }));
    };
  });
  const storage = indexedDbStorage();
  try {
    const link = parsePairingLink(decodeURIComponent(location.hash.slice(1)));
    const signer = await storedSigner(storage);
    const device = await storedDevice(storage) ?? await pairDevice({
      ...link, signer, platform: "other", allowLoopback: true, fetch: native,
    });
    await storage.set("device", device);
    let lost = 0;
    window.rotate = async () => socket.rotateKey(await storedSigner(storage, "next_key"));
    const socket = new DeviceSocket({ device, signer, storage, fetch: native, onEvent(event) {
      show(event.kind);
      if (event.kind === "offer") window.claim = (code) => socket.claim(event.offer.ceremony_id, code);
      if (event.kind === "challenge") {
        const { ceremony_id, attempt } = event.challenge;
        socket.answer(ceremony_id, attempt, '{"id":"AQIDBA","rawId":"AQIDBA","type":"public-key","response":{}}');
      }
      if (event.kind === "key_rotated") {
        storage.get("next_key").then((key) => storage.set("key", key)).then(() => show("stored"));
      }
      if (event.kind === "disconnected" && ++lost === 2) document.querySelector("p + p").textContent = "no socket";
      if (event.kind === "closed") document.querySelector("p + p").textContent = event.closed.outcome;
    } });
  } catch (error) {
    document.querySelector("p + p").textContent = String(error);
  }
</script>"#;

/// The same page with the fetch of React Native: it gives no body piece by piece.
const NATIVE: &str = r#"<!doctype html><title>app</title><p id="steps">steps</p><p id="end"></p>
<script>delete window.fetch; delete window.Response</script>
<script src="/whatwg-fetch.js"></script>
<script type="module">
  import { watchCeremony } from "/client/index.js";
  const given = new URLSearchParams(location.hash.slice(1));
  const end = document.getElementById('end');
  const { closed } = watchCeremony(given.get("url"), given.get("ticket"), {
    onEvent: ({ step }) => document.getElementById('steps').append(` ${step}`),
  });
  closed.then(({ status }) => (end.textContent = status), (error) => (end.textContent = String(error)));
</script>"#;

/// Waits until the page's title is this.
async fn reads_title(browser: &Browser, title: &str) {
    let reads = async {
        while browser.title().await != title {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reads).await.unwrap();
}

/// Where nothing listens.
fn unreachable() -> String {
    let port = OwnPort::reserve();
    format!("http://{}/v1/ceremonies/cer_x", port.address)
}

/// A web server with this page and the built modules.
fn serving(page: &'static str) -> ScriptedUpstream {
    ScriptedUpstream::listening(move |_, request| {
        let path = request.call.trim_start_matches("GET ");
        let (status, kind, body) = match path.strip_prefix("/client/") {
            Some(name) => {
                let text = std::fs::read_to_string(package().join("dist/src").join(name)).unwrap();
                (200, "text/javascript", text)
            }
            None if path == "/whatwg-fetch.js" => {
                let fetch = package().join("node_modules/whatwg-fetch/dist/fetch.umd.js");
                (200, "text/javascript", std::fs::read_to_string(fetch).unwrap())
            }
            None if path.starts_with("/favicon") => (404, "text/plain", String::new()),
            None => (200, "text/html", page.to_owned()),
        };
        let headers = vec![("Content-Type", kind.to_owned())];
        Reply::Answer(Answer { status, headers, body })
    })
}

/// A ceremony whose page sees every step.
fn shown_to_the_page() -> Value {
    json!({
        "type": "registration", "username": "ada", "prior_auth": "session", "show_delivery": true,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_listed_origin_watches_to_the_end_in_a_browser_and_another_is_refused() {
    let Some(node) = needs::node("the JavaScript client in a browser") else { return };
    let Some(chromium) = needs::chromium("the JavaScript client in a browser") else { return };
    build(&node).await;
    let upstream = accepting_server();
    let relay = TestRelay::start_with(upstream_at(&upstream.url())).await;
    let initiator = relay.initiator().await;
    let (shop, elsewhere) = (serving(PAGE), serving(PAGE));
    let (listed, stranger) = (shop.url(), elsewhere.url());
    initiator.list_page(&relay, &listed).await;
    let phone = relay.phone(&initiator, "ada").await;
    let opened = initiator.open(&shown_to_the_page()).await;
    let watched = format!("url={}/v1/ceremonies/{}", relay.url(), opened.id);
    let browser = Browser::start(&chromium).await;
    browser.open(&format!("{listed}/#{watched}&ticket={}", opened.ticket)).await;
    browser.read("#steps", "steps 10 opened 11 sent 13 delivered").await;
    phone.types(&opened);
    browser.read("#end", "succeeded").await;
    let steps = browser.text("#steps").await;
    let numbers: Vec<_> = steps.split_whitespace().skip(1).step_by(2).collect();
    let view = initiator.outcome(opened.id).await;
    let every: Vec<_> = view.progress.iter().map(|entry| entry.seq.to_string()).collect();
    assert_eq!(numbers, every, "{steps}");
    assert_eq!(view.status, Status::Ended(Outcome::Succeeded));
    browser.open(&format!("{listed}/?again#{watched}&ticket=tkt_none")).await;
    browser.read("#end", "WatchError 401").await;
    // What the script of a page with an unlisted origin sees is a failure of the network;
    // the client finds out that there is a relay, and says so.
    browser.open(&format!("{stranger}/#{watched}&ticket={}", opened.ticket)).await;
    reads_title(&browser, "hidden").await;
    browser.open(&format!("{stranger}/?down#url={}&ticket=tkt_x", unreachable())).await;
    reads_title(&browser, "unreachable").await;
    browser.open(&format!("{stranger}/?again#{watched}&ticket={}", opened.ticket)).await;
    let failed = "return fetch(new URLSearchParams(location.hash.slice(1)).get('url'), \
                  { headers: { Authorization: 'Bearer tkt_none' } }).then(() => 'read', () => 'failed')";
    assert_eq!(browser.run(failed).await, "failed");
    assert_eq!(browser.text("#steps").await, "steps");
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_over_the_fetch_of_react_native_begins_at_once_and_hears_the_end() {
    let Some(node) = needs::node("React Native's fetch") else { return };
    let Some(chromium) = needs::chromium("React Native's fetch") else { return };
    build(&node).await;
    let upstream = accepting_server();
    let relay = TestRelay::start_with(upstream_at(&upstream.url())).await;
    let initiator = relay.initiator().await;
    let app = serving(NATIVE);
    initiator.list_page(&relay, &app.url()).await;
    let phone = relay.phone(&initiator, "ada").await;
    let opened = initiator.open(&shown_to_the_page()).await;
    let browser = Browser::start(&chromium).await;
    let watched = format!("url={}/v1/ceremonies/{}", relay.url(), opened.id);
    browser.open(&format!("{}/#{watched}&ticket={}", app.url(), opened.ticket)).await;
    browser.read("#steps", "steps opened sent delivered").await;
    let asked = "return performance.getEntriesByType('resource').map(({ name }) => new URL(name))
        .find(({ pathname }) => pathname.includes('ceremonies')).search";
    assert_eq!(browser.run(asked).await, "?wait=0&since=0");
    phone.types(&opened);
    browser.read("#end", "succeeded").await;
    browser.quit().await;
}

/// Posts what the app in the page wants posted.
async fn post_for(browser: &Browser) {
    let script = "return window.posts ?? ''";
    let wanted = async {
        loop {
            let asked = browser.run(script).await;
            if asked != "" {
                return asked;
            }
            tokio::task::yield_now().await;
        }
    };
    let asked = tokio::time::timeout(PATIENCE, wanted).await.unwrap();
    let asked: Value = serde_json::from_str(asked.as_str().unwrap()).unwrap();
    let post = http().post(asked["url"].as_str().unwrap()).json(&asked["body"]);
    let answer = post.send().await.unwrap();
    let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
    browser.run(&format!("window.answered({status}, {})", Value::from(text))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_in_a_page_of_a_listed_origin_holds_its_key_and_its_socket_in_a_browser() {
    let Some(node) = needs::node("a device socket in a browser") else { return };
    let Some(chromium) = needs::chromium("a device socket in a browser") else { return };
    build(&node).await;
    let upstream = accepting_server();
    let (app, elsewhere) = (serving(APP), serving(APP));
    let agree = upstream_at(&upstream.url());
    let listed = app.url();
    let relay = TestRelay::start_with(|config| {
        agree(config);
        config.device_origins = vec![listed.clone()];
    })
    .await;
    let initiator = relay.initiator().await;
    let browser = Browser::start(&chromium).await;
    let pairing = initiator.post("/v1/pairings", &json!({ "username": "ada" })).await;
    let pairing: Value = pairing.json().await.unwrap();
    let link = pairing["uri"].as_str().unwrap();
    browser.open(&format!("{listed}/#{}", link.replace('%', "%25"))).await;
    post_for(&browser).await;
    browser.read("#steps", "steps connected").await;
    browser.run("window.rotate()").await;
    post_for(&browser).await;
    browser.read("#steps", "steps connected key_rotated stored").await;
    let opened = initiator.open(&json!({ "type": "registration", "username": "ada" })).await;
    browser.read("#steps", "steps connected key_rotated stored offer").await;
    let code = opened.code.as_ref().unwrap();
    browser.run(&format!("window.claim('{}')", code)).await;
    browser.read("#end", "succeeded").await;
    let steps = browser.text("#steps").await;
    assert_eq!(steps, "steps connected key_rotated stored offer challenge accepted closed");
    assert_eq!(initiator.outcome(opened.id).await.status, Status::Ended(Outcome::Succeeded));
    // Loaded anew, it is the same device by what IndexedDB has kept.
    browser.open(&format!("{listed}/?again#{}", link.replace('%', "%25"))).await;
    browser.read("#steps", "steps connected").await;
    // The same app elsewhere gets no socket: its browser says where it comes from.
    let pairing = initiator.post("/v1/pairings", &json!({ "username": "bob" })).await;
    let pairing: Value = pairing.json().await.unwrap();
    let link = pairing["uri"].as_str().unwrap().replace('%', "%25");
    browser.open(&format!("{}/#{link}", elsewhere.url())).await;
    post_for(&browser).await;
    browser.read("#end", "no socket").await;
    assert!(!browser.text("#steps").await.contains(" connected"));
    browser.quit().await;
}
