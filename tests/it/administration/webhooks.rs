//! `fido-relay webhook`: an endpoint's whole life on the command line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use fido_relay::ports::Bucket;
use serde_json::{Value, json};

use super::{run, run_json};
use crate::support::relay::TestRelay;
use crate::support::scripted_upstream::{Answer, Reply, ScriptedUpstream};

#[tokio::test]
async fn the_operator_registers_tests_rotates_looks_after_and_removes_an_endpoint() {
    let status = Arc::new(AtomicU16::new(200));
    let answers = Arc::clone(&status);
    let receiver = ScriptedUpstream::listening(move |_, _| {
        Reply::Answer(Answer::json(answers.load(Ordering::Relaxed), "{}"))
    });
    let relay = TestRelay::start_with(|config| config.webhooks.allow_loopback_http = true).await;
    relay.running.serve_admin().unwrap();
    let data_dir = &relay.running.config().data_dir;
    let bank = relay.initiator().await;
    let me: Value = bank.get("/v1/clients/self").await.json().await.unwrap();
    let client = me["client_id"].as_str().unwrap();
    let url = format!("{}/hook", receiver.url());

    let add = ["webhook", "add", client, &url, "--scheme", "v1,v1a", "--json"];
    let made = run_json(data_dir, &add).await;
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"));
    let id = made["id"].as_str().unwrap();
    let listed = run_json(data_dir, &["webhook", "list", "--json"]).await;
    assert_eq!((&listed[0]["id"], &listed[0]["client_id"]), (&json!(id), &json!(client)));
    assert_eq!(listed[0]["by_operator"], true);
    assert!(!listed.to_string().contains(secret), "it is shown once");

    let tested = run_json(data_dir, &["webhook", "test", id, "--json"]).await;
    assert_eq!((&tested["delivered"], &tested["status"]), (&json!(true), &json!(200)));
    let rotate = ["webhook", "rotate", id, "--scheme", "v1", "--old-hours", "1", "--json"];
    let rotated = run_json(data_dir, &rotate).await;
    assert_ne!(rotated["secret"], made["secret"]);
    assert_eq!(rotated["keys"].as_array().unwrap().len(), 3, "the old one signs beside it");

    status.store(500, Ordering::Relaxed);
    let tested = run(data_dir, &["webhook", "test", id]).await.with_code(1);
    assert!(tested.contains("not delivered: status (status 500)"), "{tested}");
    let opened = bank.open(&json!({ "type": "authentication", "username": "ada" })).await;
    bank.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
    while relay.running.app().webhooks.as_ref().unwrap().figures().failed == 0 {
        tokio::task::yield_now().await;
    }
    let delivery = run_json(data_dir, &["webhook", "deliveries", id, "--json"]).await;
    assert_eq!(delivery["event"], "ceremony.closed");
    assert_eq!(delivery["state"], "waiting");
    let dead = run(data_dir, &["webhook", "deliveries", id, "--state", "dead"]).await;
    assert!(dead.code == Some(0) && dead.out.is_empty());
    let resend = ["webhook", "resend", id, delivery["id"].as_str().unwrap()];
    run(data_dir, &resend).await.stdout();
    let all = run(data_dir, &["webhook", "resend", id]).await;
    assert_eq!(all.out, "There is no dead letter.\n");

    run(data_dir, &["webhook", "enable", id]).await.stdout();
    let moved = format!("{}/moved", receiver.url());
    let change = ["webhook", "change", id, "--url", &moved, "--event", "user.not_me", "--json"];
    let changed = run_json(data_dir, &change).await;
    assert_eq!((&changed["url"], &changed["events"]), (&json!(moved), &json!(["user.not_me"])));
    assert_eq!(changed["keys"].as_array().unwrap().len(), 3, "its keys stay");
    let shown = run(data_dir, &["webhook", "change", id, "--url", &url]).await;
    assert!(shown.out.contains(&format!("{id}  {url}\n")));
    run(data_dir, &["webhook", "change", id]).await.with_code(2);
    let refused = run(data_dir, &["webhook", "change", id, "--url", "nonsense"]).await;
    assert_eq!(refused.code, Some(1));
    run(data_dir, &["webhook", "remove", id]).await.stdout();
    assert_eq!(records(&relay).await, 0, "nothing is left of it");
    assert_eq!(run_json(data_dir, &["webhook", "list", "--json"]).await, json!([]));
    for gone in [["remove", id], ["test", id], ["enable", id], ["deliveries", id]] {
        let refused = run(data_dir, &[&["webhook"][..], &gone].concat()).await.with_code(1);
        assert!(refused.contains("no such webhook"), "{gone:?}: {refused}");
    }

    // And with its client all that is a client's.
    run_json(data_dir, &add).await;
    let opened = bank.open(&json!({ "type": "authentication", "username": "ada" })).await;
    bank.delete(&format!("/v1/ceremonies/{}", opened.id)).await;
    while relay.running.app().webhooks.as_ref().unwrap().figures().waiting == 0 {
        tokio::task::yield_now().await;
    }
    run(data_dir, &["client", "remove", client]).await.stdout();
    assert_eq!(records(&relay).await, 0);
}

/// Records of webhooks that the store has.
async fn records(relay: &TestRelay) -> usize {
    let mut records = 0;
    for bucket in [Bucket::Webhooks, Bucket::Outbox, Bucket::Delivered] {
        records += relay.running.relay().dependencies().store.list(bucket, "").await.unwrap().len();
    }
    records
}

#[tokio::test]
async fn an_endpoint_that_may_not_be_is_refused_on_the_command_line_too() {
    let relay = TestRelay::start().await;
    relay.running.serve_admin().unwrap();
    let data_dir = &relay.running.config().data_dir;
    let bank = relay.initiator().await;
    let me: Value = bank.get("/v1/clients/self").await.json().await.unwrap();
    let client = me["client_id"].as_str().unwrap();
    let nobody = "cli_AAAAAAAAAAAAAAAAAAAAAA";
    for (client, url, why) in [
        (nobody, "https://shop.example/hook", "no such client"),
        (client, "http://shop.example/hook", "url"),
        (client, "https://10.0.0.1/hook", "url"),
        (client, "https://127.0.0.1/hook", "url"),
        (client, "nonsense", "url"),
    ] {
        let refused = run(data_dir, &["webhook", "add", client, url]).await.with_code(1);
        assert!(refused.contains(why), "{url}: {refused}");
    }
    assert_eq!(run_json(data_dir, &["webhook", "list", "--json"]).await, json!([]));
    let unknown = ["webhook", "add", client, "https://a.example", "--event", "x"];
    run(data_dir, &unknown).await.with_code(2);
}
