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
use rustix::process::Signal;

use crate::support::actions::app_on;
use crate::support::child::{self, Exit, fido_relay_at};
use crate::support::child_relay::{ChildRelay, Home};

/// Runs the program with a data directory and nothing else configured.
async fn run(data_dir: &Path, arguments: &[&str]) -> Exit {
    child::run(&mut fido_relay_at(data_dir, arguments)).await
}

/// Runs the program, which must succeed, and reads the JSON that it prints.
async fn run_json(data_dir: &Path, arguments: &[&str]) -> serde_json::Value {
    run(data_dir, arguments).await.json()
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
        ..app_on(store)
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

    run(data_dir, &["client", "remove", &id]).await.stdout();
    assert!(holder(&clients, &rotated).await.is_none());
    let again = run(data_dir, &["client", "remove", &id]).await;
    let again = again.with_code(1);
    assert!(again.contains("no such client"), "{again}");

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
    let refused = run(data_dir, &["client", "list"]).await.with_code(1);
    assert!(refused.contains("in use by another process"), "{refused}");
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
    assert!(shown.out.contains("fido-relay://pair?relay=https"), "{}", shown.out);
    assert!(!shown.err.contains("a real phone cannot use this link"), "{}", shown.err);
}

#[tokio::test]
async fn a_pairing_link_that_no_real_phone_can_use_is_said_to_be_one() {
    let home = Home::new(&[]);
    let _relay = ChildRelay::start(&home).await;
    let create = ["pairing", "create", "--username", "ada@example.com", "--json"];
    let shown = home.run(&create).await;
    for part in ["a real phone cannot use this link", "adb reverse tcp:"] {
        assert!(shown.err.contains(part), "{}", shown.err);
    }
    let opened = shown.json();
    assert!(opened["uri"].as_str().unwrap().contains("relay=http%3A%2F%2F127.0.0.1%3A"));
}

#[tokio::test]
async fn a_served_relay_takes_the_key_that_the_command_line_made_and_stops_when_told() {
    let home = Home::new(&[("FIDO_RELAY_LOG__FORMAT", "json")]);
    let relay = ChildRelay::start(&home).await;
    let url = format!("{}/v1/clients/self", relay.url());

    let made = home.run(&["client", "create", "--name", "Shop", "--json"]).await.json();
    let key = made["key"].as_str().unwrap();
    let http = reqwest::Client::new();
    let ask = |key: &str| http.get(&url).bearer_auth(key).send();
    let answer = ask(key).await.unwrap();
    assert_eq!(answer.status(), 200);
    let view: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(view["client_id"], made["client_id"]);
    let wrong = ask("rk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").await.unwrap();
    assert_eq!(wrong.status(), 401);

    let listen = relay.url().trim_start_matches("http://");
    std::fs::write(home.path().join("health.toml"), format!("listen = \"{listen}\"\n")).unwrap();
    let mut health = home.command(&["health", "--config", "health.toml"]);
    child::run(health.env_remove("FIDO_RELAY_LISTEN")).await.stdout();

    let second = home.run(&["serve"]).await.with_code(1);
    assert!(second.contains("in use"), "{second}");

    let log = relay.stop().await;
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert!(!log.contains(key));
    assert!(!home.data_dir().join(SOCKET_NAME).exists());

    let again = ChildRelay::start(&home).await;
    let listed = home.run(&["client", "list", "--json"]).await.json();
    assert_eq!(listed[0]["client_id"], made["client_id"], "the client was lost over a restart");
    again.stop_by(Signal::INT).await;
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
        let refused = run(directory.path(), arguments).await.with_code(2);
        assert!(refused.contains(expected), "{arguments:?}: {refused}");
    }
}

#[tokio::test]
async fn the_effective_configuration_is_printed_with_its_sources() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("fido-relay.toml"), "log.level = \"debug\"\n").unwrap();
    let text = run(directory.path(), &["config"]).await.stdout();
    for line in ["level = \"debug\"  # fido-relay.toml:1", "# FIDO_RELAY_DATA_DIR", "# default"] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[tokio::test]
async fn health_tells_by_its_exit_code_that_nobody_is_there() {
    let directory = tempfile::tempdir().unwrap();
    // Listens and never answers, as a relay that hangs.
    let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = bound.local_addr().unwrap();
    let text = format!("listen = \"{listen}\"\n");
    std::fs::write(directory.path().join("fido-relay.toml"), text).unwrap();
    let told = run(directory.path(), &["health", "--timeout", "1"]).await.with_code(1);
    assert!(told.contains(&format!("no relay answers at {listen}")), "{told}");
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
