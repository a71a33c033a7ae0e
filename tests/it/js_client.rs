//! The TypeScript client of `clients/js` against a real relay: its own tests under Node, with a
//! relay that is restarted when they ask for it, its built modules in a real browser's page, the
//! package as it would be published, and the samples in React.

mod browser;
mod package;
mod react;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fido_relay::backends::embedded::{FileStore, SystemClock};
use fido_relay::config::Config;
use fido_relay::ports::Clock;
use fido_relay::serve::{self, RunningServer, STORE_FILE, ServerDependencies};
use fido_relay_proto::UnixMillis;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::support::accepting_server::{accepting_server, completions, upstream_at};
use crate::support::child;
use crate::support::needs::{self, Node};
use crate::support::relay::{Place, TestRelay};

/// The longest wait for a page.
const PATIENCE: Duration = Duration::from_secs(120);

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/js")
}

/// Builds the package once for all tests.
async fn build(node: &Node) {
    static BUILT: OnceCell<()> = OnceCell::const_new();
    let build = async || {
        let mut compiler = Command::new(&node.program);
        child::run(compiler.arg(&node.compiler).current_dir(package())).await.stdout();
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
    running: Option<RunningServer>,
}

impl Remote {
    async fn start(&mut self, ahead_ms: u64) {
        if let Some(running) = self.running.take() {
            assert!(running.stop().await, "everything ends in time");
        }
        let store = Arc::new(FileStore::open(&self.config.data_dir.join(STORE_FILE), &[]).unwrap());
        let ground = ServerDependencies::new(store, Arc::new(Ahead(ahead_ms)));
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
    let upstream = accepting_server();
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
    let mut tests = Command::new(&node.program);
    tests
        .arg("--test-reporter=spec")
        .arg(package().join("dist/test/relay").join(file))
        .env("FIDO_RELAY_TEST_URL", &initiator.url)
        .env("FIDO_RELAY_TEST_KEY", &initiator.key)
        .env("FIDO_RELAY_TEST_CONTROL", control.local_addr().unwrap().port().to_string());
    let exit = tokio::select! {
        exit = child::run(&mut tests) => exit,
        () = remote.obey(control) => unreachable!("the control never ends by itself"),
    };
    let said = exit.stdout();
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
    child::run(Command::new(&node.program).arg("--test").args(files)).await.stdout();
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
        config.prompts.ringing = 1;
    })
    .await;
    // The same number of ceremonies succeed in that file; none was completed twice.
    assert_eq!(verdicts, 22);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_in_javascript_takes_a_new_key_and_keeps_both_until_it_knows_which_one_counts() {
    let Some(node) = needs::node("a new device key in JavaScript") else { return };
    run(&node, "rotation.test.js", |_| {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_in_javascript_leaves_a_line_that_died_in_silence() {
    let Some(node) = needs::node("a silent line in JavaScript") else { return };
    run(&node, "liveness.test.js", |config| {
        config.limits.heartbeat = Duration::from_secs(2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_a_socket_in_javascript_brings_every_ceremony_to_its_one_end() {
    let Some(node) = needs::node("a device without a socket in JavaScript") else { return };
    let verdicts = run(&node, "pull.test.js", |config| config.prompts.ringing = 1).await;
    // The same number of ceremonies succeed in that file; none was completed twice.
    assert_eq!(verdicts, 17);
}
