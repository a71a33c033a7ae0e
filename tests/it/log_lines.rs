//! What the log of the real program says, and by which names.

use serde_json::json;

use crate::support::child_relay::{ChildRelay, Home};
use crate::support::relay::http;

#[tokio::test]
async fn the_first_line_says_what_the_relay_is_and_a_ceremonys_lines_name_it_alike() {
    let home = Home::new(&[]);
    let key = home.api_key().await;
    let relay = ChildRelay::start(&home).await;
    let bank = relay.initiator(&key);
    let client: serde_json::Value = bank.get("/v1/clients/self").await.json().await.unwrap();
    let client = client["client_id"].as_str().unwrap();

    let first = relay.written().lines().next().unwrap().to_owned();
    let data = home.data_dir();
    for part in [
        "listener=127.0.0.1:0".to_owned(),
        "fido2_server=\"built-in\"".to_owned(),
        format!("store={}", data.join("relay.redb").display()),
        format!("data_dir={}", data.display()),
    ] {
        assert!(first.contains(&part), "{part} is not in {first}");
    }

    let order = json!({ "type": "registration", "username": "ada" });
    let opened = bank.open(&order).await;
    bank.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
    let named = format!("ceremony={} client={client} ceremony_type=registration", opened.id);
    relay.logged(&format!("opened {named}"), 1).await;
    relay.logged(&format!("closed {named} outcome=cancelled"), 1).await;
    assert!(!relay.written().contains("kind="), "{}", relay.written());
    relay.kill().await;
}

/// A minimal container has no certificate authorities.
#[tokio::test]
async fn a_machine_without_certificate_authorities_serves_and_says_what_will_not_work() {
    let nowhere = "/nonexistent";
    let mut home = Home::new(&[("SSL_CERT_FILE", nowhere), ("SSL_CERT_DIR", nowhere)]);
    let relay = ChildRelay::start(&home).await;
    let warned = relay.written().matches("trusts no certificate authority").count();
    assert_eq!(warned, 1, "{}", relay.written());
    assert!(relay.written().contains("SSL_CERT_FILE"));
    let health = format!("{}/healthz", relay.url());
    assert_eq!(http().get(health).send().await.unwrap().status(), 200);
    let made = home.run(&["client", "create", "--name", "Shop"]).await.text();
    assert!(made.contains("API key  rk_"), "{made}");
    let listen = relay.url().trim_start_matches("http://").to_owned();
    home.set("FIDO_RELAY_LISTEN", &listen);
    home.run(&["health"]).await.stdout();
    let told = home.run(&["doctor"]).await.stdout();
    assert!(told.contains("warning  certificates: this machine trusts no"), "{told}");
    assert!(told.contains("→ install them"), "{told}");
    relay.kill().await;

    // Every ceremony would fail: that is no start.
    home.set("FIDO_RELAY_UPSTREAM__URL", "https://fido.example.com");
    let told = home.run(&["serve"]).await.with_code(2);
    let line = told.lines().last().unwrap();
    assert!(line.contains("upstream.url is https, but this machine trusts no"), "{told}");
}

/// The fields of every log line in the sources: `?x` would print a type of ours as Rust names it,
/// and a ceremony is named by its id alone.
#[test]
fn no_log_line_prints_a_name_of_the_source_code() {
    let mut lines = 0;
    for (path, text) in ["src", "kit/src"].into_iter().flat_map(crate::architecture::files) {
        for call in ["info!(", "warn!(", "error!(", "debug!(", "trace!("] {
            for (at, _) in text.match_indices(&format!("tracing::{call}")) {
                let rest = &text[at..];
                let fields = rest.split_once('"').map_or(rest, |(fields, _)| fields);
                lines += 1;
                let shows =
                    fields.contains("= ?") || fields.contains("(?") || fields.contains(" ?");
                assert!(!shows, "{path}: {fields}");
                assert!(!fields.contains("ceremony = %key,"), "{path}: {fields}");
                assert!(!fields.contains("kind ="), "{path}: {fields}");
            }
        }
    }
    assert!(lines > 50, "only {lines} were found");
}
