//! What the audit log tells of everything beside ceremonies, from a real relay: what the operator
//! does on the command line, what initiators and phones do, and what was refused.

use std::collections::BTreeMap;
use std::time::Duration;

use fido_relay_proto::device::DeclineReason;
use fido_relay_proto::http::Scope;
use fido_relay_proto::{Binding, CeremonyId};
use fido_relay_rig::phone::DeviceKey;
use serde_json::{Value, json};

use super::{run, run_json};
use crate::audit::lines;
use crate::support::child::ChildProcess;
use crate::support::child_relay::{ChildRelay, Home};
use crate::support::key_pair::{ASSERTION_TYPE, KeyPair, claims};
use crate::support::relay::{Initiator, TestRelay, http};
use crate::support::wire_phone::WirePhone;

async fn opens(bank: &Initiator, username: &str) -> fido_relay_proto::http::OpenedCeremony {
    bank.open(&json!({ "type": "authentication", "username": username })).await
}

#[tokio::test]
async fn the_audit_log_hears_of_clients_devices_and_refusals() {
    let relay = TestRelay::start_with(|config| {
        config.prompts.not_me_mute = Duration::from_secs(3600);
        config.prompts.wrong_codes_per_day = 2;
    })
    .await;
    relay.running.serve_admin().unwrap();
    let data_dir = relay.running.config().data_dir.clone();
    let bank = relay.initiator().await;

    // The operator.
    let operator = async |arguments: &[&str]| {
        let done = run(&data_dir, arguments).await;
        assert!(done.code == Some(0), "{arguments:?}: {}", done.err);
    };
    let made = run_json(&data_dir, &["client", "create", "--name", "Shop", "--json"]).await;
    let client = made["client_id"].as_str().unwrap();
    let pair = KeyPair::generate("ES256", "first");
    std::fs::write(data_dir.join("first.jwk"), pair.jwk().to_string()).unwrap();
    let jwk = data_dir.join("first.jwk");
    operator(&["client", "key", "add", client, "--jwk", jwk.to_str().unwrap()]).await;
    operator(&["client", "change", client, "--end-api-keys"]).await;

    // A forged assertion of that client.
    let url = format!("{}/oauth/token", relay.url());
    let now_s = relay.running.relay().dependencies().clock.now().as_secs();
    let id = serde_json::from_value(made["client_id"].clone()).unwrap();
    let forged = KeyPair::generate("ES256", "first");
    let assertion = forged.sign(&forged.header(), &claims(id, &url, now_s));
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    form.append_pair("client_assertion_type", ASSERTION_TYPE);
    form.append_pair("client_assertion", &assertion);
    let request = http().post(&url).body(form.finish());
    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(request.send().await.unwrap().status(), 401);
    operator(&["client", "key", "remove", client, "first"]).await;
    operator(&["client", "remove", client]).await;

    // Ada's phone gets a name and a key, and says that it was not her.
    let ada = relay.pair(&bank, "ada").await;
    let path = format!("/v1/devices/{}", ada.device_id);
    assert_eq!(bank.patch(&path, &json!({ "name": "Pocket" })).await.status(), 200);
    let next = DeviceKey::generate().unwrap();
    let aud = format!("{}/v1/device/key", relay.url());
    let (old_proof, new_proof) = ada.key.rotation_proofs(&next, &aud, ada.device_id).unwrap();
    let body = json!({ "new_jwk": next.jwk(), "old_proof": old_proof, "new_proof": new_proof });
    assert_eq!(http().post(&aud).json(&body).send().await.unwrap().status(), 200);
    let mut phone =
        WirePhone::connect(fido_relay_rig::phone::Paired { key: next, ..ada.clone() }).await;
    let opened = opens(&bank, "ada").await;
    phone.offer().await;
    phone.decline(opened.id, DeclineReason::NotMe).await;
    bank.outcome(opened.id).await;
    let silent = opens(&bank, "ada").await;

    // Bob types wrong codes, and Eve's pairing code is guessed at.
    let bob = relay.pair(&bank, "bob").await;
    let mut typist = WirePhone::connect(bob.clone()).await;
    let opened = opens(&bank, "bob").await;
    typist.offer().await;
    let right = opened.code.clone().unwrap();
    let wrong = if right == "000000" { "000001" } else { "000000" };
    for _ in 0..3 {
        typist.claim(opened.id, wrong).await;
        typist.refused().await;
    }
    let code = bank.pairing("eve").await.typed_code;
    let (head, last) = code.split_at(code.len() - 1);
    let guess = format!("{head}{}", if last == "0" { "2" } else { "0" });
    let (key, url) = (DeviceKey::generate().unwrap(), format!("{}/v1/devices", relay.url()));
    for _ in 0..5 {
        let proof = key.pairing_proof(&url, &guess.replace('-', "")).unwrap();
        let body = json!({ "typed_code": guess, "jwk": key.jwk(), "proof": proof,
            "platform": "other" });
        assert_eq!(http().post(&url).json(&body).send().await.unwrap().status(), 401);
    }
    // A key that is none, a ceremony of another client's or of none, and a scope that is missing.
    let key_of_none = format!("rk_{}", "A".repeat(43));
    let stranger = Initiator { url: bank.url.clone(), key: key_of_none, http: http() };
    assert_eq!(stranger.get("/v1/clients/self").await.status(), 401);
    let foreign = bank.get(&format!("/v1/ceremonies/{}", CeremonyId::from_bytes([9; 16]))).await;
    assert_eq!(foreign.status(), 404);
    let reader = relay.initiator_with(vec![Scope::CeremonyRead], vec![Binding::Code]).await;
    let body = json!({ "username": "ada" });
    assert_eq!(reader.post("/v1/pairings", &body).await.status(), 403);
    let body = json!({ "new_jwk": key.jwk(), "old_proof": new_proof, "new_proof": old_proof });
    assert_eq!(http().post(&aud).json(&body).send().await.unwrap().status(), 401);
    // One phone is revoked by its backend, one by the operator.
    assert_eq!(bank.delete(&path).await.status(), 204);
    operator(&["device", "revoke", &bob.device_id.to_string()]).await;

    let (_, directory) = relay.stop().await;
    let mut heard: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines(&directory.path().join("audit")) {
        let entry: Value = serde_json::from_str(&line).unwrap();
        // How the bank became a client.
        if entry["operator"] == "tester" {
            continue;
        }
        if let Some(event) = entry["event"].as_str() {
            heard.entry(event.to_owned()).or_default().push(entry.clone());
        }
    }
    let one = |event: &str| -> &Value {
        let entries = heard.get(event).unwrap_or_else(|| panic!("no {event}: {:?}", heard.keys()));
        assert_eq!(entries.len(), 1, "{entries:?}");
        assert_eq!(entries[0]["tenant"], "default");
        assert!(entries[0]["at"].as_str().unwrap().ends_with('Z'), "{}", entries[0]);
        &entries[0]
    };
    for event in
        ["client_made", "client_key_made", "client_changed", "client_key_removed", "client_removed"]
    {
        assert_eq!(one(event)["client_id"], client, "{event}");
    }
    let refused = |what: &str| {
        let sums = heard["refused"].iter().filter(|sum| sum["what"] == what);
        let sums: Vec<_> = sums.map(|sum| (&sum["network"], &sum["count"])).collect();
        let [(network, count)] = sums[..] else { panic!("{what}: {sums:?}") };
        assert_eq!(network, "127.0.0.0/24");
        count.as_u64().unwrap()
    };
    for (what, count) in [
        ("assertion", 1),
        ("pairing", 5),
        ("key", 1),
        ("foreign_id", 1),
        ("scope", 1),
        ("rotation", 1),
    ] {
        assert_eq!(refused(what), count, "{what}");
    }
    for event in ["device_renamed", "device_key_rotated", "not_me"] {
        assert_eq!(one(event)["device_id"], ada.device_id.to_string(), "{event}");
        assert_eq!(one(event)["username"], "ada", "{event}");
    }
    assert!(one("device_renamed")["client_id"].is_string());
    assert_eq!(one("silenced")["ceremony_id"], silent.id.to_string());
    assert_eq!(one("silenced")["why"], "muted");
    assert_eq!(one("codes_spent")["device_id"], bob.device_id.to_string());
    assert_eq!(one("pairing_voided")["username"], "eve");
    assert_eq!(heard["device_paired"].len(), 2);
    let revoked = &heard["device_revoked"];
    assert_eq!(revoked.len(), 2);
    assert_eq!(revoked[0]["device_id"], ada.device_id.to_string());
    assert!(revoked[0]["client_id"].is_string());
    assert_eq!(revoked[1]["device_id"], bob.device_id.to_string());
    assert!(revoked[1]["client_id"].is_null(), "the operator is no initiator: {}", revoked[1]);
}

/// The entries of a data directory's log with an operator.
fn by_operator(data_dir: &std::path::Path) -> Vec<(String, String)> {
    let entries = lines(&data_dir.join("audit")).into_iter();
    let entries = entries.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let named = entries.filter(|entry| entry["operator"].is_string());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    named.map(|entry| (text(&entry["event"]), text(&entry["client_id"]))).collect()
}

#[tokio::test]
async fn what_is_done_to_a_store_at_rest_is_in_its_log_before_the_command_ends() {
    let mut home = Home::new(&[("USER", "ada")]);
    let create = ["client", "create", "--name", "Shop", "--new-store", "--json"];
    let made = home.run(&create).await.json();
    let id = made["client_id"].as_str().unwrap();
    let entry = |event: &str| (event.to_owned(), id.to_owned());
    assert_eq!(by_operator(&home.data_dir()), [entry("client_made")]);
    home.run(&["client", "list"]).await.stdout();
    home.run(&["client", "remove", id]).await.stdout();
    let both = [entry("client_made"), entry("client_removed")];
    assert_eq!(by_operator(&home.data_dir()), both);
    home.run(&["audit", "verify"]).await.stdout();
    ChildRelay::start(&home).await.stop().await;
    assert_eq!(by_operator(&home.data_dir()), both, "each once");
    // A command with another audit directory than the relay's begins no log there.
    let configured = home.data_dir().join("audit");
    home.set("FIDO_RELAY_AUDIT__DIR", home.data_dir().join("elsewhere").to_str().unwrap());
    assert!(
        home.command(&["client", "create", "--name", "Till"])
            .output()
            .await
            .unwrap()
            .status
            .success()
    );
    assert!(!home.data_dir().join("elsewhere").exists());
    home.set("FIDO_RELAY_AUDIT__DIR", configured.to_str().unwrap());
    ChildRelay::start(&home).await.stop().await;
    let after = by_operator(&home.data_dir());
    assert_eq!(after.len(), 3, "{after:?}");
    assert!(!lines(&configured).iter().any(|line| line.contains("log_restarted")));
}

#[tokio::test]
async fn an_act_while_a_relay_starts_is_done_and_entered_once_or_not_at_all() {
    let home = Home::new(&[("USER", "ada")]);
    drop(home.api_key().await);
    let mut made = 0;
    for _ in 0..5 {
        let act = home.run(&["client", "create", "--name", "Shop", "--quiet"]);
        // One of the two has the store first; the other waits for nothing and says so.
        let serve = async {
            loop {
                let mut relay = ChildProcess::start(&mut home.command(&["serve"]));
                if relay.logs_or_ends(" listen=").await.is_some() {
                    return relay;
                }
                assert_ne!(relay.exit().await.code, Some(0));
            }
        };
        let (acted, relay) = tokio::join!(act, serve);
        if acted.code == Some(0) {
            made += 1;
        } else {
            assert!(acted.err.contains("try again"), "{}", acted.err);
        }
        relay.kill().await;
    }
    ChildRelay::start(&home).await.stop().await;
    let entered = by_operator(&home.data_dir());
    let entered: Vec<_> = entered.iter().filter(|(event, _)| event == "client_made").collect();
    assert_eq!(entered.len(), made + 1, "and the one that api_key made");
}
