//! The document by the judgement of others: the validator of the OpenAPI specification, and
//! schemathesis against a running relay, with every check that it has.

use std::path::Path;

use fido_relay::config::Config;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::child;
use crate::support::needs;
use crate::support::relay::TestRelay;

/// The folder of what Python needs.
fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi")
}

#[tokio::test]
async fn the_validator_of_the_specification_takes_the_document() {
    let what = "the validator of OpenAPI documents";
    let Some(python) = needs::python_with("openapi_spec_validator", what) else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("openapi.json");
    std::fs::write(&file, fido_relay::schema::openapi::document().to_string()).unwrap();
    let mut command = Command::new(python);
    command.args(["-m", "openapi_spec_validator", "--schema", "3.1"]).arg(file);
    let told = child::run(&mut command).await.stdout();
    assert!(told.contains("OK"), "{told}");
}

/// Everything that there is to be found is switched on.
fn generous(config: &mut Config) {
    config.client_direct = true;
    config.receipts = true;
    config.webhooks.allowed_hosts = vec!["127.0.0.1".to_owned(), "shop.example.com".to_owned()];
}

/// Ids of things that are there, for the fuzzer to name now and then.
async fn known(relay: &TestRelay) -> Value {
    let initiator = relay.initiator().await;
    let phone = relay.phone(&initiator, "ada").await;
    let mut closed = None;
    for kind in ["registration", "authentication"] {
        let opened = initiator.open(&json!({ "type": kind, "username": "ada" })).await;
        phone.types(&opened);
        assert_eq!(initiator.outcome(opened.id).await.id, opened.id);
        closed = Some(opened.id);
    }
    phone.handle.stop();
    let open = initiator.open(&json!({ "type": "authentication", "username": "ada" })).await;
    let device: Value = initiator.get("/v1/users/ada/devices").await.json().await.unwrap();
    let hook = json!({ "url": "https://shop.example.com/hooks" });
    let hook: Value = initiator.post("/v1/webhooks", &hook).await.json().await.unwrap();
    json!({
        "key": initiator.key,
        "open": open.id,
        "closed": closed,
        "device": device["devices"][0]["device_id"],
        "webhook": hook["id"],
    })
}

#[tokio::test]
async fn schemathesis_finds_no_answer_that_the_document_does_not_have() {
    let what = "schemathesis";
    let Some(python) = needs::python_with("schemathesis", what) else { return };
    let relay = TestRelay::start_with(generous).await;
    let known = known(&relay).await;
    let directory = tempfile::tempdir().unwrap();
    let mut run = Command::new(python);
    run.args(["-m", "schemathesis.cli", "--config-file"])
        .arg(folder().join("schemathesis.toml"))
        .args(["run", &format!("{}/openapi.json", relay.url())])
        .current_dir(directory.path())
        .env("PYTHONPATH", folder())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("FIDO_RELAY_KNOWN", known.to_string())
        .env("FIDO_RELAY_KEY", known["key"].as_str().unwrap())
        .env("NO_COLOR", "1");
    let exit = child::run(&mut run).await;
    if let Some(file) = std::env::var_os("FIDO_RELAY_SCHEMATHESIS_REPORT") {
        std::fs::write(file, &exit.out).unwrap();
    }
    println!("{}", exit.stdout());
}
