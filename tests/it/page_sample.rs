//! The page of `examples/page`, which uses no package, in a real browser: its own backend in Node, a
//! real relay, a simulated phone and card.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use fido_relay::tasks::Tasks;
use fido_relay_proto::http::Status;
use fido_relay_proto::{CeremonyId, Outcome};
use fido_relay_rig::phone::{Decision, Faults, Paired, PhoneEvent};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::demo::audit::AUDIT;
use crate::demo::browser::{Browser, LIGHT, NARROW_DARK};
use crate::support::child::ChildProcess;
use crate::support::needs;
use crate::support::relay::{CardInHand, Initiator, TestPhone, TestRelay};

const WHAT: &str = "the page without a package";

/// The page waits less long before it asks whether a stream still lives.
const LESS_QUIET: &str = "
    const wait = setTimeout;
    window.setTimeout = (run, ms) => wait(run, ms === 15000 ? 300 : ms);";

/// A proxy before the relay. It passes everything on, until it lets the event streams of a moment
/// go silent.
#[derive(Default)]
struct Front {
    relay: OnceLock<SocketAddr>,
    /// Streams that began before the newest moment are dead.
    moment: AtomicU64,
    tasks: Tasks,
}

impl Front {
    async fn start() -> (Arc<Self>, String) {
        let front = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = Arc::clone(&front);
        front.tasks.spawn_untraced(async move {
            while let Ok((page, _)) = listener.accept().await {
                serving.tasks.spawn_untraced(Arc::clone(&serving).pass(page));
            }
        });
        (front, url)
    }

    async fn pass(self: Arc<Self>, page: TcpStream) {
        let Ok(relay) = TcpStream::connect(self.relay.get().unwrap()).await else { return };
        let ((from_page, to_page), (from_relay, to_relay)) =
            (page.into_split(), relay.into_split());
        tokio::join!(self.copy(from_page, to_relay), self.copy(from_relay, to_page));
    }

    async fn copy(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut streams_since = None;
        let mut chunk = vec![0; 65_536];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            let moment = self.moment.load(Ordering::Relaxed);
            if String::from_utf8_lossy(&chunk[..read]).contains("text/event-stream") {
                streams_since = Some(moment);
            }
            if streams_since.is_some_and(|since| since < moment) {
                std::future::pending::<()>().await;
            }
            if to.write_all(&chunk[..read]).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    }

    fn kill_streams(&self) {
        self.moment.fetch_add(1, Ordering::Relaxed);
    }
}

/// The shop, and Ada with a registered card.
struct Scene {
    front: Arc<Front>,
    relay: TestRelay,
    initiator: Initiator,
    card: Arc<CardInHand>,
    paired: Paired,
    phone: TestPhone,
    browser: Browser,
    url: String,
    _shop: ChildProcess,
}

impl Scene {
    async fn set() -> Option<Self> {
        let (node, chromium) = (needs::node_alone(WHAT)?, needs::chromium(WHAT)?);
        let (front, url) = Front::start().await;
        let public = url.parse().unwrap();
        let relay = TestRelay::start_with(|config| config.public_url = public).await;
        front.relay.set(relay.running.config().listen).unwrap();
        let initiator = relay.initiator().await;
        let paired = relay.pair(&initiator, "ada").await;
        let card = Arc::new(CardInHand::default());
        let phone = relay.connect_with(card.clone(), paired.clone(), Faults::none()).await;
        let opened = initiator.open(&json!({ "type": "registration", "username": "ada" })).await;
        phone.types(&opened);
        initiator.outcome(opened.id).await;
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/page");
        let mut shop = Command::new(node);
        shop.args(["server.mjs", "0"]).current_dir(page);
        shop.env("FIDO_RELAY_URL", &url).env("FIDO_RELAY_API_KEY", &initiator.key);
        let mut shop = ChildProcess::start(&mut shop);
        let (url, browser) = tokio::join!(shop.prints("open: "), Browser::start(&chromium));
        Some(Self { front, relay, initiator, card, paired, phone, browser, url, _shop: shop })
    }

    async fn list_the_page(&self) {
        self.initiator.list_page(&self.relay, &self.url).await;
    }

    /// Signs in on the page; gives what the page shows.
    async fn asks(&self) -> (CeremonyId, String) {
        let name = self.browser.see("[name=username]").await;
        name.clear().await.unwrap();
        name.send_keys("ada").await.unwrap();
        self.browser.click("form button").await;
        self.browser.see("#code").await;
        (self.id().await, self.browser.text("#code").await)
    }

    async fn id(&self) -> CeremonyId {
        let id = self.browser.run("return current.id").await;
        id.as_str().unwrap().parse().unwrap()
    }

    async fn passes_an_audit(&self, axe: &str) {
        self.browser.run(axe).await;
        for look in [LIGHT, NARROW_DARK] {
            self.browser.look(look).await;
            assert_eq!(self.browser.run(AUDIT).await, json!([]));
            let sideways = "return document.documentElement.scrollWidth - innerWidth";
            assert_eq!(self.browser.run(sideways).await, 0);
        }
        self.browser.look(LIGHT).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_without_a_package_works_over_dead_streams_reloads_and_restarts() {
    let Some(axe) = needs::axe(WHAT) else { return };
    let Some(mut scene) = Scene::set().await else { return };
    scene.list_the_page().await;
    let browser = &scene.browser;
    browser.tell("Page.enable", json!({})).await;
    let source = json!({ "source": LESS_QUIET });
    browser.tell("Page.addScriptToEvaluateOnNewDocument", source).await;
    browser.open(&scene.url).await;
    browser.see("form").await;
    scene.passes_an_audit(&axe).await;
    let (id, code) = scene.asks().await;
    browser.read("#told", "Open the Example Bank app on your phone and type this code.").await;
    assert!(browser.text("#left").await.ends_with(" s left"));
    scene.passes_an_audit(&axe).await;
    browser.keep_picture("page-sample-code").await;

    // A reload goes on where the page was.
    browser.open(&scene.url).await;
    browser.read("#code", &code).await;
    browser.read("#told", "Open the Example Bank app on your phone and type this code.").await;
    assert_eq!(scene.id().await, id);
    // The stream dies without a word: the page finds out and goes on by another.
    scene.front.kill_streams();
    scene.phone.codes.provide(id, code);
    browser.read("#told", "You are signed in as ada.").await;
    browser.open(&scene.url).await;
    browser.read("#told", "You are signed in as ada.").await;
    browser.click("#out").await;

    // The relay restarts while the page watches.
    let (id, code) = scene.asks().await;
    browser.read("#told", "Open the Example Bank app on your phone and type this code.").await;
    scene.relay = scene.relay.restart().await;
    scene.phone =
        scene.relay.connect_with(scene.card.clone(), scene.paired.clone(), Faults::none()).await;
    scene.phone.codes.provide(id, code);
    scene.browser.read("#told", "You are signed in as ada.").await;
    scene.browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_without_a_package_says_every_end_in_plain_words() {
    let Some(axe) = needs::axe(WHAT) else { return };
    let Some(mut scene) = Scene::set().await else { return };
    scene.list_the_page().await;
    scene.browser.open(&scene.url).await;
    let (id, _) = scene.asks().await;
    let offered = |event: &PhoneEvent| matches!(event, PhoneEvent::Offered { offer, .. } if offer.ceremony_id == id);
    scene.phone.until(offered).await;
    scene.phone.handle.decide(id, Decision::NotMe).await;
    let browser = &scene.browser;
    browser
        .read("#told", "You said that this was not you. Nobody is signed in, and we look into it.")
        .await;
    assert_eq!(browser.focused().await, "told");
    scene.passes_an_audit(&axe).await;
    scene.asks().await;
    browser.click("#cancel").await;
    browser.read("#told", "Cancelled. You are not signed in.").await;
    // Another try of the same browser takes the first one back.
    let (first, _) = scene.asks().await;
    browser.run("show(null)").await;
    scene.asks().await;
    assert_eq!(scene.initiator.outcome(first).await.status, Status::Ended(Outcome::Cancelled));

    let ends = browser
        .run(
            "return ['denied declined', 'rejected upstream_rejected', 'rejected already_registered',
                'expired deadline', 'expired session_expired', 'indeterminate upstream_unknown',
                'indeterminate interrupted', 'failed wrong_code', 'failed upstream_full']
            .filter((end) => says(...end.split(' ')) === ENDS.failed)",
        )
        .await;
    assert_eq!(ends, json!([]), "each has words of its own");
    scene.browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_without_a_package_says_that_it_is_not_listed_and_signs_in_all_the_same() {
    let Some(scene) = Scene::set().await else { return };
    let browser = &scene.browser;
    browser.open(&scene.url).await;
    let (id, code) = scene.asks().await;
    let trouble = "This page may not watch, so it shows no steps. Do what your phone says.";
    browser.read("#trouble", trouble).await;
    scene.phone.codes.provide(id, code);
    browser.read("#told", "You are signed in as ada.").await;
    scene.browser.quit().await;
}
