//! Who did it: the operator's name in the journal, with and without a relay that runs.

use std::path::Path;

use fido_relay::backends::embedded::FileStore;
use fido_relay::serve::STORE_FILE;
use fido_relay_rig::softcard::SoftCard;
use serde_json::{Value, json};

use crate::cards::goes_through;
use crate::support::actions::events;
use crate::support::child::{fido_relay_at, run};
use crate::support::key_pair::KeyPair;
use crate::support::relay::TestRelay;

/// Runs the program, which must succeed, with these variables; what it printed.
async fn run_as(data_dir: &Path, who: &[(&str, &str)], arguments: &[&str]) -> Value {
    let printed = run(fido_relay_at(data_dir, arguments).envs(who.iter().copied())).await.stdout();
    serde_json::from_str(&printed).unwrap_or_default()
}

#[tokio::test]
async fn a_client_made_where_no_relay_runs_is_in_the_journal_with_the_name_of_who_made_it() {
    let uid = format!("uid {}", rustix::process::getuid().as_raw());
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("SUDO_USER", "ada"), ("LOGNAME", "fido-relay"), ("USER", "fido-relay")], "ada"),
        (&[("SUDO_USER", ""), ("LOGNAME", "bob"), ("USER", "eve")], "bob"),
        (&[("USER", "eve")], "eve"),
        (&[("USER", "e\nv\u{e4}e")], "eve"),
        (&[], &uid),
    ];
    for (who, name) in cases {
        let directory = tempfile::tempdir().unwrap();
        let create = ["client", "create", "--name", "Shop", "--json", "--new-store"];
        let made = run_as(directory.path(), who, &create).await;
        let store = FileStore::open(&directory.path().join(STORE_FILE), &[]).unwrap();
        let told = events(&store).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["event"], "client_made");
        assert_eq!(told[0]["client_id"], made["client_id"]);
        assert_eq!(told[0]["operator"], name);
    }
}

#[tokio::test]
async fn whatever_the_operator_does_to_a_running_relay_is_in_the_journal_under_that_name() {
    let relay = TestRelay::start().await;
    relay.running.serve_admin().unwrap();
    let data_dir = relay.running.config().data_dir.clone();
    let store = &*relay.running.app().store;
    let bank = relay.initiator().await;
    let ada = relay.pair(&bank, "ada").await;
    let mut card = SoftCard::new();
    goes_through(&bank, &ada, &mut card, "registration").await;
    let cards: Value = bank.get("/v1/users/ada/cards").await.json().await.unwrap();
    let card = cards["cards"][0]["id"].as_str().unwrap();
    let device = ada.device_id.to_string();
    let seen = events(store).await.len();

    let operator =
        async |arguments: &[&str]| run_as(&data_dir, &[("SUDO_USER", "grace")], arguments).await;
    let made = operator(&["client", "create", "--name", "Shop", "--json"]).await;
    let client = made["client_id"].as_str().unwrap();
    let jwk = data_dir.join("first.jwk");
    std::fs::write(&jwk, KeyPair::generate("ES256", "first").jwk().to_string()).unwrap();
    operator(&["client", "rotate", client, "--old-hours", "1"]).await;
    operator(&["client", "key", "add", client, "--jwk", jwk.to_str().unwrap()]).await;
    operator(&["client", "change", client, "--end-api-keys"]).await;
    operator(&["client", "key", "remove", client, "first"]).await;
    let add = ["webhook", "add", client, "https://shop.example/hook", "--json"];
    let webhook = operator(&add).await;
    operator(&["webhook", "remove", webhook["id"].as_str().unwrap()]).await;
    operator(&add).await;
    operator(&["client", "remove", client]).await;
    operator(&["pairing", "create", "--username", "ada", "--json"]).await;
    operator(&["card", "remove", "ada", card]).await;
    operator(&["device", "revoke", &device]).await;
    operator(&["user", "remove", "ada"]).await;

    let told = events(store).await.split_off(seen);
    let named: Vec<_> = told.iter().map(|told| told["event"].as_str().unwrap()).collect();
    let expected = [
        "client_made",
        "client_key_made",
        "client_key_made",
        "client_changed",
        "client_key_removed",
        "webhook_made",
        "webhook_removed",
        "webhook_made",
        "client_removed",
        "webhook_removed",
        "pairing_opened",
        "card_removed",
        "device_revoked",
        "pairing_voided",
        "user_removed",
    ];
    assert_eq!(named, expected);
    for told in &told {
        assert_eq!(told["operator"], "grace", "{told}");
    }

    // What an initiator does names the initiator.
    let seen = events(store).await.len();
    let bob = relay.pair(&bank, "bob").await;
    let path = format!("/v1/devices/{}", bob.device_id);
    assert_eq!(bank.patch(&path, &json!({ "name": "Pocket" })).await.status(), 200);
    bank.post("/v1/pairings", &json!({ "username": "bob" })).await;
    assert_eq!(bank.delete("/v1/users/bob/pairings").await.status(), 204);
    assert_eq!(bank.delete(&path).await.status(), 204);
    let me: Value = bank.get("/v1/clients/self").await.json().await.unwrap();
    let told = events(store).await.split_off(seen);
    let by = |event: &str| {
        let told = told.iter().filter(|told| told["event"] == event);
        told.map(|told| told["client_id"].clone()).collect::<Vec<_>>()
    };
    let me = me["client_id"].clone();
    assert_eq!(by("pairing_opened"), [me.clone(), me.clone()]);
    for event in ["device_renamed", "pairing_voided", "device_revoked"] {
        assert_eq!(by(event), std::slice::from_ref(&me), "{event}");
    }
    assert!(told.iter().all(|told| told["operator"].is_null()), "{told:?}");
}
