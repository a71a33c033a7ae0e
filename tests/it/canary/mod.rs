//! I7: no secret in any output. The real program runs with every library at TRACE, through
//! ceremonies of every type and ending and through hostile input, while the test collects each
//! secret that it meets; afterwards none of them may stand in what the program wrote, in an answer
//! that refuses, in a close reason or in debug output.

mod credentials;
mod run;
pub(crate) mod secrets;
pub(crate) mod suite;

use fido_relay::backends::embedded::{FileStore, SystemClock};
use fido_relay::core::ceremony::Ceremony;
use fido_relay::ports::{Bucket, Clock as _, Store as _, records};
use fido_relay::security::encryption::Encryptor;
use fido_relay::serve::{SEAL_KEY_FILE, STORE_FILE};

use crate::support::child_relay::{ChildRelay, Home};
use crate::support::own_port::OwnPort;
use crate::support::relay::http;
use run::{Run, upstream};

/// Everything that the relay's own directory holds in the clear or sealed.
async fn keys_at_rest(home: &Home, run: &mut Run) {
    let seal_key = home.data_dir().join(SEAL_KEY_FILE);
    run.secrets.add("sealing key", std::fs::read_to_string(&seal_key).unwrap().trim());
    let sealer = Encryptor::load_or_make(&seal_key).unwrap();
    let store = FileStore::open(&home.data_dir().join(STORE_FILE), &[]).unwrap();
    let mut keys = 0;
    for (name, stored) in store.list(Bucket::Keys, "").await.unwrap() {
        let sealed = std::str::from_utf8(&stored.value).unwrap();
        let key = sealer.open(&format!("keys.{name}"), sealed).unwrap();
        run.secrets.add_bytes("key at rest", &key);
        // The private scalar within PKCS#8 (RFC 5915).
        if let Some(scalar) = key.get(36..68) {
            run.secrets.add_bytes("private key at rest", scalar);
        }
        keys += 1;
    }
    assert!(keys >= 2, "the result key and the ticket key");
    credentials::webhook_keys(&store, &sealer, &mut run.secrets).await;
}

/// Brings the end of what is open near: a ceremony asks for 30 s at the least. The relay then still
/// waits for it.
async fn soon_over(home: &Home) {
    let store = FileStore::open(&home.data_dir().join(STORE_FILE), &[]).unwrap();
    let end = SystemClock.now().plus_secs(3);
    let mut open = 0;
    for (key, stored) in store.list(Bucket::Ceremonies, "").await.unwrap() {
        let mut ceremony: Ceremony = serde_json::from_slice(&stored.value).unwrap();
        ceremony.request.deadline = end;
        let saved = records::save(&store, Bucket::Ceremonies, &key, stored.revision, &ceremony);
        saved.await.unwrap();
        open += 1;
    }
    assert_eq!(open, 2);
}

fn nothing_shown(run: &Run, output: &str, text: &str) {
    let shown = run.secrets.shown_in(text);
    assert!(shown.is_empty(), "{output} shows\n{}", shown.join("\n"));
}

#[tokio::test]
async fn no_secret_of_a_whole_run_is_in_any_output_at_the_finest_level() {
    let server = upstream();
    let port = OwnPort::reserve();
    let admin = port.address.to_string();
    let home = Home::new(&[
        ("FIDO_RELAY_ADMIN__LISTEN", &admin),
        ("FIDO_RELAY_WEBHOOKS__ALLOW_LOOPBACK_HTTP", "true"),
        ("FIDO_RELAY_LOG__LEVEL", "trace"),
        ("FIDO_RELAY_UPSTREAM__URL", &server.url()),
        ("FIDO_RELAY_TENANT__RP_ID", "localhost"),
        // One proof after another is refused here, and every user is another prompt.
        ("FIDO_RELAY_LIMITS__FRAMES_BURST", "300"),
        ("FIDO_RELAY_LIMITS__ATTEMPTS_BURST", "100000"),
    ]);
    let key = home.api_key().await;
    let relay = ChildRelay::start(&home).await;
    let mut run = Run::new(&relay, key.clone());
    let left = run.left_to_expire().await;
    let before = relay.written();
    relay.kill().await;
    soon_over(&home).await;
    let relay = ChildRelay::start(&home).await;
    run.goes_on_with(&relay, &key);
    run.backend_of_its_own(&home, &server.url()).await;
    run.every_type_and_ending().await;
    run.hostile_input().await;
    run.other_protocols().await;
    run.phone_with_typed_code_and_new_key().await;
    for opened in &left {
        run.closed(opened).await;
    }
    let metrics = http().get(format!("http://{admin}/metrics")).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("outcome=\"expired\""), "{metrics}");
    let written = [before, relay.written()].concat();
    let (refused, debug) = (run.refused.join("\n"), run.debug.join("\n"));
    let beside = [home.run(&["doctor"]).await.text(), home.run(&["config"]).await.text()].concat();
    relay.kill().await;
    let after = home.run(&["doctor"]).await.text();
    keys_at_rest(&home, &mut run).await;

    assert!(run.secrets.len() > 300, "{}", run.secrets.len());
    assert!(written.contains("TRACE") && written.contains("hyper"), "libraries were heard");
    assert!(!written.contains("panicked at"), "nothing panicked: {written}");
    assert!(
        run.refused.len() > 20 && run.debug.len() > 20,
        "{} {}",
        run.refused.len(),
        run.debug.len()
    );
    nothing_shown(&run, "the log", &written);
    nothing_shown(&run, "a refusal", &refused);
    nothing_shown(&run, "the metrics", &metrics);
    credentials::of_the_audit_log(&home, &run);
    nothing_shown(&run, "debug output", &debug);
    nothing_shown(&run, "doctor or config", &[beside, after].concat());
}

#[tokio::test]
async fn no_secret_of_the_built_in_server_is_logged_at_the_finest_level() {
    let home = Home::new(&[("FIDO_RELAY_LOG__LEVEL", "trace"), ("FIDO_RELAY_LOG__FORMAT", "text")]);
    let key = home.api_key().await;
    let relay = ChildRelay::start(&home).await;
    let mut run = Run::new(&relay, key);
    run.with_a_card().await;
    let written = relay.written();
    relay.kill().await;
    keys_at_rest(&home, &mut run).await;
    assert!(run.secrets.len() > 80, "{}", run.secrets.len());
    nothing_shown(&run, "the log", &written);
}

/// The same scan must see a secret that the program does write: one in its configuration.
#[tokio::test]
async fn the_scan_of_a_childs_output_sees_what_the_child_writes() {
    let canary = "canary-in-a-name-that-is-printed";
    let home = Home::new(&[("FIDO_RELAY_TENANT__RP_NAME", canary)]);
    let mut secrets = secrets::Secrets::default();
    secrets.add("canary", canary);
    assert_eq!(secrets.shown_in(&home.run(&["config"]).await.text()).len(), 1);
}
