//! The operator's command line, as a process of its own, against the admin socket of a relay and
//! against a store that no relay has open.

mod cards;
mod clients;
mod devices;
mod operators;
mod trail;
mod users;
mod webhooks;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fido_relay::app::App;
use fido_relay::app::clients::{Client, Clients};
use fido_relay::backends::embedded::{FileStore, MemoryStore, RevocationList, SystemClock};
use fido_relay::edge::operator::socket::{AdminSocket, SOCKET_NAME};
use fido_relay::edge::operator::{self, Admin};
use fido_relay::ports::{Clock as _, Store};
use fido_relay::tasks::Tasks;
use fido_relay_proto::TenantId;
use fido_relay_proto::http::Scope;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::acts::at_rest;

/// Runs the program with a data directory and nothing else configured.
async fn run(data_dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fido-relay"));
    command.args(arguments).current_dir(data_dir).env_clear();
    command.env("FIDO_RELAY_DATA_DIR", data_dir).output().await.unwrap()
}

/// Runs the program, which must succeed, and reads the JSON that it prints.
async fn run_json(data_dir: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = run(data_dir, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn holder(clients: &Clients, made: &serde_json::Value) -> Option<Arc<Client>> {
    let key = made["key"].as_str().unwrap();
    clients.authenticate(key, SystemClock.now()).await.unwrap()
}

fn serve_admin(data_dir: &Path) -> (Clients, Tasks) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let clients = Clients::new(Arc::clone(&store));
    let tasks = Tasks::default();
    let list = data_dir.join(fido_relay::serve::REVOCATIONS_FILE);
    let app = App {
        public_url: "https://relay.example".to_owned(),
        revocations: Arc::new(RevocationList::open(&list).unwrap()),
        ..at_rest(store)
    };
    let admin = Admin { tenant: TenantId::default(), app, relay: None };
    AdminSocket::bind(data_dir).unwrap().serve(operator::router(admin), &tasks);
    (clients, tasks)
}

#[tokio::test]
async fn a_running_relay_makes_lists_rotates_and_removes_clients() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path();
    let (clients, tasks) = serve_admin(data_dir);

    let made = run_json(data_dir, &["client", "create", "--name", "Shop", "--json"]).await;
    let client = holder(&clients, &made).await.unwrap();
    assert_eq!(client.scopes, [Scope::CeremonyAuth, Scope::CeremonyRead]);
    assert_eq!(made["client_id"], client.id.to_string());

    let listed = run_json(data_dir, &["client", "list", "--json"]).await;
    assert_eq!(listed[0]["name"], "Shop");
    assert_eq!(listed[0]["keys_end"], serde_json::json!([null]));

    let id = client.id.to_string();
    let rotate = ["client", "rotate", &id, "--old-hours", "0", "--json"];
    let rotated = run_json(data_dir, &rotate).await;
    assert!(holder(&clients, &made).await.is_none(), "the old key was to end at once");
    assert_eq!(holder(&clients, &rotated).await.unwrap().id, client.id);

    assert!(run(data_dir, &["client", "remove", &id]).await.status.success());
    assert!(holder(&clients, &rotated).await.is_none());
    let again = run(data_dir, &["client", "remove", &id]).await;
    assert_eq!(again.status.code(), Some(1));
    assert!(told(&again).contains("no such client"), "{}", told(&again));

    assert!(tasks.stop(Duration::from_secs(10)).await);
    assert!(!data_dir.join(SOCKET_NAME).exists(), "the socket outlived its relay");
    assert!(!data_dir.join("relay.redb").exists(), "the store was touched beside the relay");
}

#[tokio::test]
async fn only_this_user_can_open_the_socket_and_a_stale_one_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(SOCKET_NAME);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a socket that its process left behind");

    let socket = AdminSocket::bind(directory.path()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");

    let second = AdminSocket::bind(directory.path()).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
    drop(socket);
    assert!(!path.exists());
}

#[tokio::test]
async fn without_a_relay_the_command_works_on_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path();
    let create = ["client", "create", "--name", "Shop", "--key-days", "3", "--json", "--new-store"];
    let made = run_json(data_dir, &create).await;
    let listed = run_json(data_dir, &["client", "list", "--json"]).await;
    assert_eq!(listed[0]["client_id"], made["client_id"]);
    for time in [&listed[0]["keys_end"][0], &listed[0]["created_at"]] {
        let time = time.as_str().unwrap();
        assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{listed}");
    }

    let store = FileStore::open(&data_dir.join("relay.redb"), &[]).unwrap();
    let clients = Clients::new(Arc::new(store));
    assert!(holder(&clients, &made).await.is_some());

    // This process holds the store now and serves no socket.
    let refused = run(data_dir, &["client", "list"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(told(&refused).contains("in use by another process"), "{}", told(&refused));
}

#[tokio::test]
async fn a_pairing_token_is_minted_for_the_relay_that_apps_dial() {
    let directory = tempfile::tempdir().unwrap();
    let (_clients, _tasks) = serve_admin(directory.path());
    let create = ["pairing", "create", "--username", "ada@example.com"];
    let opened = run_json(directory.path(), &[&create[..], &["--json"]].concat()).await;
    let token = opened["pairing_token"].as_str().unwrap();
    let uri = format!("fido-relay://pair?relay=https%3A%2F%2Frelay.example&token={token}");
    assert_eq!(opened["uri"], uri);
    let shown = run(directory.path(), &create).await;
    assert!(String::from_utf8(shown.stdout).unwrap().contains("fido-relay://pair?relay=https"));
    let notes = String::from_utf8(shown.stderr).unwrap();
    assert!(!notes.contains("a real phone cannot use this link"), "{notes}");
}

#[tokio::test]
async fn a_pairing_link_that_no_real_phone_can_use_is_said_to_be_one() {
    let directory = tempfile::tempdir().unwrap();
    let _served = Served::start(directory.path()).await;
    let create = ["pairing", "create", "--username", "ada@example.com", "--json"];
    let shown = run(directory.path(), &create).await;
    let opened: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert!(opened["uri"].as_str().unwrap().contains("relay=http%3A%2F%2F127.0.0.1%3A"));
    let told = told(&shown);
    assert!(told.contains("a real phone cannot use this link"), "{told}");
    assert!(told.contains("adb reverse tcp:"), "{told}");
}

/// A relay as a process of its own, killed if the test forgets it.
struct Served {
    process: tokio::process::Child,
    log: tokio::io::Lines<BufReader<tokio::process::ChildStderr>>,
    listen: String,
}

impl Served {
    /// Starts it on a free port and waits until it says where it serves.
    async fn start(data_dir: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_fido-relay"))
            .arg("serve")
            .current_dir(data_dir)
            .env_clear()
            .env("FIDO_RELAY_DATA_DIR", data_dir)
            .env("FIDO_RELAY_LISTEN", "127.0.0.1:0")
            .env("FIDO_RELAY_LOG__FORMAT", "json")
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let listen = loop {
            let line = log.next_line().await.unwrap().expect("the relay did not start");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let Some(listen) = line["listen"].as_str() {
                break listen.to_owned();
            }
        };
        Self { process, log, listen }
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.process.id().unwrap());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Its exit code, and what it logged meanwhile.
    async fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        while let Some(line) = self.log.next_line().await.unwrap() {
            log.push_str(&line);
        }
        (self.process.wait().await.unwrap().code(), log)
    }
}

#[tokio::test]
async fn a_served_relay_takes_the_key_that_the_command_line_made_and_stops_when_told() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path();
    let served = Served::start(data_dir).await;
    let url = format!("http://{}/v1/clients/self", served.listen);

    let made = run_json(data_dir, &["client", "create", "--name", "Shop", "--json"]).await;
    let http = reqwest::Client::new();
    let ask = |key: &str| http.get(&url).bearer_auth(key).send();
    let answer = ask(made["key"].as_str().unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let view: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(view["client_id"], made["client_id"]);
    let wrong = ask("rk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").await.unwrap();
    assert_eq!(wrong.status(), 401);

    std::fs::write(data_dir.join("health.toml"), format!("listen = \"{}\"\n", served.listen))
        .unwrap();
    let health = run(data_dir, &["health", "--config", "health.toml"]).await;
    assert!(health.status.success(), "{}", told(&health));

    let second = run(data_dir, &["serve"]).await;
    assert_eq!(second.status.code(), Some(1));
    assert!(told(&second).contains("in use"), "{}", told(&second));

    served.signal("TERM");
    let (code, log) = served.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(made["key"].as_str().unwrap()));
    assert!(!data_dir.join(SOCKET_NAME).exists());

    let again = Served::start(data_dir).await;
    let listed = run_json(data_dir, &["client", "list", "--json"]).await;
    assert_eq!(listed[0]["client_id"], made["client_id"], "the client was lost over a restart");
    again.signal("INT");
    assert_eq!(again.end().await.0, Some(0));
}

#[tokio::test]
async fn what_is_asked_for_wrongly_exits_with_2_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&[], "Usage"),
        (&["client", "create"], "--name"),
        (&["client", "create", "--name", "a\u{202e}b"], "bidirectional"),
        (
            &["client", "create", "--name", "a", "--scope", "ceremony:red"],
            "a similar value exists: 'ceremony:read'",
        ),
        (&["client", "create", "--name", "a", "--scope", "all"], "ceremony:auth, ceremony:reg"),
        (&["client", "remove", "cli_x"], "not a valid client id"),
        (&["--config", "nowhere.toml", "config"], "nowhere.toml: cannot be read"),
    ];
    for (arguments, expected) in cases {
        let output = run(directory.path(), arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(told(&output).contains(expected), "{arguments:?}: {}", told(&output));
    }
}

#[tokio::test]
async fn the_effective_configuration_is_printed_with_its_sources() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("fido-relay.toml"), "log.level = \"debug\"\n").unwrap();
    let output = run(directory.path(), &["config"]).await;
    assert!(output.status.success(), "{}", told(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for line in ["level = \"debug\"  # fido-relay.toml:1", "# FIDO_RELAY_DATA_DIR", "# default"] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn health_tells_by_its_exit_code_that_nobody_is_there() {
    let directory = tempfile::tempdir().unwrap();
    // Somebody listens there and never answers, as a relay that hangs.
    let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = bound.local_addr().unwrap();
    let text = format!("listen = \"{listen}\"\n");
    std::fs::write(directory.path().join("fido-relay.toml"), text).unwrap();
    let output = run(directory.path(), &["health", "--timeout", "1"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains(&format!("no relay answers at {listen}")), "{}", told(&output));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_fido-relay"))
        .arg("config")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success());
}
