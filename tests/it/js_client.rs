//! The TypeScript client of `clients/js` against a real relay: its own tests under Node, with a
//! relay that is restarted when they ask for it, and its built modules in a real browser's page.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use fido_relay::backends::embedded::{FileStore, SystemClock};
use fido_relay::config::Config;
use fido_relay::ports::Clock;
use fido_relay::security::clients::{ClientChange, Clients};
use fido_relay::serve::{self, Ground, Running, STORE_FILE};
use fido_relay_proto::http::Status;
use fido_relay_proto::{Outcome, TenantId, UnixMillis};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::demo::browser::Browser;
use crate::support::agreeable::{agreeable, completions, upstream_at};
use crate::support::needs::{self, Node};
use crate::support::relay::{Place, TestRelay, http};
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

/// Longer than a whole file of tests takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/js")
}

/// Builds the package as it stands, once for all tests.
async fn build(node: &Node) {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    let build = async || {
        let mut compiler = Command::new(&node.program);
        let built = compiler.arg(&node.compiler).current_dir(package()).output().await.unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stdout));
    };
    BUILT.get_or_init(build).await;
}

/// The machine's clock, so many milliseconds ahead.
#[derive(Debug)]
struct Ahead(u64);

impl Clock for Ahead {
    fn now(&self) -> UnixMillis {
        SystemClock.now().plus_millis(self.0)
    }
}

/// A relay that stops and starts on the word of a test in another process.
struct Remote {
    config: Config,
    _place: Place,
    running: Option<Running>,
}

impl Remote {
    async fn start(&mut self, ahead_ms: u64) {
        if let Some(running) = self.running.take() {
            assert!(running.stop().await, "everything ends in time");
        }
        let store = Arc::new(FileStore::open(&self.config.data_dir.join(STORE_FILE)).unwrap());
        let ground = Ground { store, clock: Arc::new(Ahead(ahead_ms)) };
        let listener = serve::bind(&self.config).unwrap();
        self.running = Some(serve::start_on(ground, self.config.clone(), listener).await.unwrap());
    }

    /// Does what is asked, one line at a time.
    async fn obey(&mut self, control: TcpListener) {
        loop {
            let (mut stream, _) = control.accept().await.unwrap();
            let mut command = String::new();
            BufReader::new(&mut stream).read_line(&mut command).await.unwrap();
            match command.trim() {
                "restart" => self.start(0).await,
                "61 s later" => self.start(61_000).await,
                other => panic!("{other:?} is no command"),
            }
            stream.write_all(b"done\n").await.unwrap();
        }
    }
}

/// Runs one file of the client's tests against a relay of its own; gives how often the FIDO2
/// server was asked for a verdict.
async fn run(node: &Node, file: &str, change: impl FnOnce(&mut Config)) -> usize {
    build(node).await;
    let upstream = agreeable();
    let agree = upstream_at(&upstream.url());
    let relay = TestRelay::start_with(|config| {
        agree(config);
        change(config);
    })
    .await;
    let initiator = relay.initiator().await;
    let (config, place) = relay.stop().await;
    let mut remote = Remote { config, _place: place, running: None };
    remote.start(0).await;
    let control = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tests = Command::new(&node.program)
        .arg("--test-reporter=spec")
        .arg(package().join("dist/test/relay").join(file))
        .env("FIDO_RELAY_TEST_URL", &initiator.url)
        .env("FIDO_RELAY_TEST_KEY", &initiator.key)
        .env("FIDO_RELAY_TEST_CONTROL", control.local_addr().unwrap().port().to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::select! {
        output = tokio::time::timeout(PATIENCE, tests) => output.unwrap().unwrap(),
        () = remote.obey(control) => unreachable!("the control never ends by itself"),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("pass ") && !said.contains("pass 0"), "{said}");
    assert!(remote.running.take().unwrap().stop().await, "everything ends in time");
    completions(&upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_client_passes_its_own_tests() {
    let Some(node) = needs::node("the JavaScript client's own tests") else { return };
    build(&node).await;
    let unit = std::fs::read_dir(package().join("dist/test/unit")).unwrap();
    let files = unit.map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.to_string_lossy().ends_with(".test.js")).collect();
    assert!(files.len() >= 4, "{files:?}");
    let output = Command::new(&node.program).arg("--test").args(files).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_in_javascript_misses_nothing_and_sees_nothing_twice_whatever_breaks() {
    let Some(node) = needs::node("watching in JavaScript") else { return };
    run(&node, "watch.test.js", |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_in_javascript_brings_every_ceremony_to_its_one_end_wherever_its_line_breaks() {
    let Some(node) = needs::node("a phone in JavaScript") else { return };
    let verdicts = run(&node, "device.test.js", |config| {
        // Half of it is for signing: enough on a busy machine.
        config.limits.auth_lifetime = Duration::from_secs(6);
    })
    .await;
    // The same number of ceremonies succeed in that file; none was completed twice.
    assert_eq!(verdicts, 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_in_javascript_takes_a_new_key_and_keeps_both_until_it_knows_which_one_counts() {
    let Some(node) = needs::node("a new device key in JavaScript") else { return };
    run(&node, "rotation.test.js", |_| {}).await;
}

/// The page of a shop that watches with the built modules, as a bundler would ship them.
const PAGE: &str = r#"<!doctype html><title>shop</title><p id="steps">steps</p><p id="end"></p>
<script type="module">
  import { watchCeremony } from "/client/index.js";
  const given = new URLSearchParams(location.hash.slice(1));
  const show = ({ seq, step }) => document.querySelector("p").append(` ${seq} ${step}`);
  const end = document.querySelector("p + p");
  try {
    const last = await watchCeremony(given.get("url"), given.get("ticket"), { onEvent: show });
    end.textContent = last.status;
  } catch (error) {
    end.textContent = `${error.name} ${error.status}`;
  }
</script>"#;

/// An app in a page, as web views are. What it posts goes by the app's own network, which is the
/// test: the relay lets no page pair devices.
const APP: &str = r#"<!doctype html><title>app</title><p id="steps">steps</p><p id="end"></p>
<script type="module">
  import {
    DeviceSocket, generateDeviceKey, pairDevice, parsePairingLink, webCryptoSigner,
  } from "/client/index.js";
  const show = (text) => document.querySelector("p").append(` ${text}`);
  const native = (url, { body }) => new Promise((resolve) => {
    window.posts = JSON.stringify({ url, body: JSON.parse(body) });
    window.answered = (status, text) => {
      delete window.posts;
      resolve(new Response(text, { status }));
    };
  });
  const newKey = async () => webCryptoSigner(await generateDeviceKey());
  try {
    const link = parsePairingLink(decodeURIComponent(location.hash.slice(1)));
    const signer = await newKey();
    const device = await pairDevice({
      ...link, signer, platform: "other", allowLoopback: true, fetch: native,
    });
    let lost = 0;
    window.rotate = async () => socket.rotateKey(await newKey());
    const socket = new DeviceSocket({ device, signer, fetch: native, onEvent(event) {
      show(event.kind);
      if (event.kind === "offer") window.claim = (code) => socket.claim(event.offer.ceremony_id, code);
      if (event.kind === "challenge") {
        const { ceremony_id, attempt } = event.challenge;
        socket.answer(ceremony_id, attempt, '{"id":"AQIDBA","rawId":"AQIDBA","type":"public-key","response":{}}');
      }
      if (event.kind === "disconnected" && ++lost === 2) document.querySelector("p + p").textContent = "no socket";
      if (event.kind === "closed") document.querySelector("p + p").textContent = event.closed.outcome;
    } });
  } catch (error) {
    document.querySelector("p + p").textContent = String(error);
  }
</script>"#;

/// A web server with this page and the built modules.
fn serving(page: &'static str) -> ScriptedUpstream {
    ScriptedUpstream::listening(move |_, request| {
        let path = request.call.trim_start_matches("GET ");
        let (status, kind, body) = match path.strip_prefix("/client/") {
            Some(name) => {
                let text = std::fs::read_to_string(package().join("dist/src").join(name)).unwrap();
                (200, "text/javascript", text)
            }
            None if path.starts_with("/favicon") => (404, "text/plain", String::new()),
            None => (200, "text/html", page.to_owned()),
        };
        let headers = vec![("Content-Type", kind.to_owned())];
        Reply::Answer(Answer { status, headers, body })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_listed_origin_watches_to_the_end_in_a_browser_and_another_is_refused() {
    let Some(node) = needs::node("the JavaScript client in a browser") else { return };
    let Some(chromium) = needs::chromium("the JavaScript client in a browser") else { return };
    build(&node).await;
    let upstream = agreeable();
    let relay = TestRelay::start_with(upstream_at(&upstream.url())).await;
    let initiator = relay.initiator().await;
    let (shop, elsewhere) = (serving(PAGE), serving(PAGE));
    let (listed, stranger) = (shop.url(), elsewhere.url());
    let me: Value = initiator.get("/v1/clients/self").await.json().await.unwrap();
    let id = serde_json::from_value(me["client_id"].clone()).unwrap();
    let change = ClientChange {
        page_origins: Some(vec![listed.parse().unwrap()]),
        ..ClientChange::default()
    };
    let clients = Clients::new(relay.running.relay().world().store.clone());
    clients.alter(&TenantId::default(), id, &change).await.unwrap();
    let phone = relay.phone(&initiator, "ada").await;
    let opened = initiator.open(&json!({ "type": "registration", "username": "ada" })).await;
    let watched = format!("url={}/v1/ceremonies/{}", relay.url(), opened.id);
    let browser = Browser::start(&chromium).await;
    browser.open(&format!("{listed}/#{watched}&ticket={}", opened.ticket)).await;
    browser.read("#steps", "steps 1 opened 2 sent 3 delivered").await;
    phone.types(&opened);
    browser.read("#end", "succeeded").await;
    let steps = browser.text("#steps").await;
    let numbers: Vec<_> = steps.split_whitespace().skip(1).step_by(2).collect();
    let view = initiator.outcome(opened.id).await;
    let every: Vec<_> = (1..=view.seq).map(|seq| seq.to_string()).collect();
    assert_eq!(numbers, every, "{steps}");
    assert_eq!(view.status, Status::Ended(Outcome::Succeeded));
    browser.open(&format!("{listed}/?again#{watched}&ticket=tkt_none")).await;
    browser.read("#end", "WatchError 401").await;
    // What a browser of a page that nobody lists lets its script see is a failure of the network.
    browser.open(&format!("{stranger}/#{watched}&ticket={}", opened.ticket)).await;
    let failed = "return fetch(new URLSearchParams(location.hash.slice(1)).get('url'), \
                  { headers: { Authorization: 'Bearer tkt_none' } }).then(() => 'read', () => 'failed')";
    assert_eq!(browser.run(failed).await, "failed");
    assert_eq!(browser.text("#steps").await, "steps");
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
    let upstream = agreeable();
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
    browser.read("#steps", "steps connected key_rotated").await;
    let opened = initiator.open(&json!({ "type": "registration", "username": "ada" })).await;
    browser.read("#steps", "steps connected key_rotated offer").await;
    let code = opened.code.as_ref().unwrap();
    browser.run(&format!("window.claim('{}')", code)).await;
    browser.read("#end", "succeeded").await;
    let steps = browser.text("#steps").await;
    assert_eq!(steps, "steps connected key_rotated offer challenge accepted closed");
    assert_eq!(initiator.outcome(opened.id).await.status, Status::Ended(Outcome::Succeeded));
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
