//! `fido-relay client`: key pairs, networks and pages of an initiator, and public keys that are none.

use std::path::{Path, PathBuf};

use fido_relay::app::clients::PublicKey;
use serde_json::{Value, json};

use super::{holder, run, run_json, serve_admin};
use crate::support::key_pair::KeyPair;

fn file(data_dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = data_dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

async fn entry(data_dir: &Path, id: &str) -> Value {
    let listed = run_json(data_dir, &["client", "list", "--json"]).await;
    let mut entries = listed.as_array().unwrap().iter();
    entries.find(|entry| entry["client_id"] == id).unwrap().clone()
}

#[tokio::test]
async fn a_client_with_a_key_pair_is_made_with_its_networks_and_pages_and_changed() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path();
    let (_clients, _tasks) = serve_admin(data_dir);
    let jwk = KeyPair::generate("ES256", "first").jwk().to_string();
    let jwk = file(data_dir, "first.jwk", &jwk);
    let create = [
        "client",
        "create",
        "--name",
        "Shop",
        "--json",
        "--jwk",
        jwk.to_str().unwrap(),
        "--allow-from",
        "192.0.2.0/24,2001:db8::1",
        "--page-origin",
        "https://shop.example",
    ];
    let made = run_json(data_dir, &create).await;
    assert_eq!((&made["kid"], &made["key"]), (&json!("first"), &Value::Null));
    let id = made["client_id"].as_str().unwrap();
    let listed = entry(data_dir, id).await;
    assert_eq!(listed["keys_end"], json!([]), "it has no API key");
    assert_eq!(listed["public_keys"], json!(["first"]));
    assert_eq!(listed["allow_from"], json!(["192.0.2.0/24", "2001:db8::1/128"]));
    assert_eq!(listed["page_origins"], json!(["https://shop.example"]));

    let change = ["client", "change", id, "--allow-from", "198.51.100.7", "--no-pages"];
    run(data_dir, &change).await.stdout();
    let listed = entry(data_dir, id).await;
    assert_eq!(listed["allow_from"], json!(["198.51.100.7/32"]), "one list replaces the other");
    assert_eq!(listed["page_origins"], json!([]));
    let change = ["client", "change", id, "--page-origin", "https://a.example,https://b.example"];
    run(data_dir, &change).await.stdout();
    let listed = entry(data_dir, id).await;
    assert_eq!(listed["allow_from"], json!(["198.51.100.7/32"]), "what is not named stays");
    assert_eq!(listed["page_origins"], json!(["https://a.example", "https://b.example"]));
    run(data_dir, &["client", "change", id, "--from-anywhere"]).await.stdout();
    assert_eq!(entry(data_dir, id).await["allow_from"], json!([]));

    let nothing = run(data_dir, &["client", "change", id]).await.with_code(2);
    assert!(nothing.contains("nothing to change"), "{nothing}");
    let nobody = ["client", "change", "cli_AAAAAAAAAAAAAAAAAAAAAA", "--no-pages"];
    let nobody = run(data_dir, &nobody).await.with_code(1);
    assert!(nobody.contains("no such client"), "{nobody}");
}

#[tokio::test]
async fn public_keys_are_added_listed_and_removed_and_api_keys_end() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path();
    let (clients, _tasks) = serve_admin(data_dir);
    let made = run_json(data_dir, &["client", "create", "--name", "Shop", "--json"]).await;
    let id = made["client_id"].as_str().unwrap();
    let empty = run(data_dir, &["client", "key", "list", id]).await;
    assert!(empty.out.contains("no public key"));
    for (alg, kid) in [("ES256", "one"), ("EdDSA", "two/with a slash"), ("PS256", "three")] {
        let jwk = KeyPair::generate(alg, kid).jwk();
        let jwk = file(data_dir, "next.jwk", &jwk.to_string());
        let add = ["client", "key", "add", id, "--jwk", jwk.to_str().unwrap(), "--json"];
        let added = run_json(data_dir, &add).await;
        assert_eq!((&added[0]["kid"], &added[0]["alg"]), (&json!(kid), &json!(alg)));
        if kid == "one" {
            let twice = run(data_dir, &add).await.with_code(1);
            assert!(twice.contains("kid"), "{twice}");
        }
    }
    let remove = ["client", "key", "remove", id, "two/with a slash"];
    run(data_dir, &remove).await.stdout();
    let listed = run_json(data_dir, &["client", "key", "list", id, "--json"]).await;
    let kids: Vec<_> = listed.as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
    assert_eq!(kids, ["one", "three"]);
    let again = run(data_dir, &remove).await.with_code(1);
    assert!(again.contains("no public key of this kid"), "{again}");

    assert!(holder(&clients, &made).await.is_some());
    run(data_dir, &["client", "change", id, "--end-api-keys"]).await.stdout();
    assert!(holder(&clients, &made).await.is_none(), "it has a key pair now");
}

#[tokio::test]
async fn what_is_no_public_key_is_refused_with_a_reason_and_not_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path();
    let (_clients, _tasks) = serve_admin(data_dir);
    let good = KeyPair::generate("ES256", "first").jwk();
    let with = |name: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[name] = value;
        jwk.to_string()
    };
    let canary = "canary-of-a-private-part-00000000000000000000";
    let cases = [
        with("d", json!(canary)),
        with("kty", json!("oct")),
        json!({ "kty": "oct", "k": canary, "kid": "first" }).to_string(),
        with("x", json!("AAAA")),
        with("alg", json!("ES512")),
        with("use", json!("enc")),
        with("kid", json!("")),
        with("kid", json!("a\u{202e}b")),
        json!([good]).to_string(),
        format!("-----BEGIN PRIVATE KEY-----\n{canary}\n-----END PRIVATE KEY-----\n"),
        " ".repeat(20_000),
    ];
    assert!(PublicKey::from_jwk(&good, fido_relay_proto::UnixMillis(0)).is_ok());
    for case in cases {
        let jwk = file(data_dir, "refused.jwk", &case);
        let create = ["client", "create", "--name", "Shop", "--jwk", jwk.to_str().unwrap()];
        let refused = run(data_dir, &create).await;
        assert_eq!(refused.code, Some(1), "{case}");
        let why = refused.err;
        assert!(why.trim().len() > 15 && !why.contains(canary), "{case}: {why}");
    }
    let missing = ["client", "create", "--name", "Shop", "--jwk", "nowhere.jwk"];
    assert!(run(data_dir, &missing).await.err.contains("nowhere.jwk"));
    let listed = run_json(data_dir, &["client", "list", "--json"]).await;
    assert_eq!(listed, json!([]), "no client is left half made");

    for (option, value, why) in [
        ("--allow-from", "192.0.2.0/33", "must be a network"),
        ("--allow-from", "shop.example", "must be a network"),
        ("--page-origin", "https://shop.example/path", "page-origin"),
        ("--page-origin", "*", "page-origin"),
    ] {
        let refused = run(data_dir, &["client", "create", "--name", "Shop", option, value])
            .await
            .with_code(2);
        assert!(refused.contains(why), "{refused}");
    }
}
