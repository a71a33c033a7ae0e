//! Receipts: what they prove with the relay gone, who gets one, and that nothing is kept without.

use fido_relay::cli::audit::receipt::{ReceiptError, TransactionCheck, check};
use fido_relay::config::{HttpUpstream, Upstream};
use fido_relay::ports::Bucket;
use fido_relay::security::result_token::JwkSet;
use fido_relay_proto::http::{OpenedCeremony, Transaction};
use serde_json::{Value, json};

use crate::support::fido2_server::Fido2Server;
use crate::support::relay::{Initiator, TestPhone, TestRelay};

fn payment(to: &str) -> Value {
    json!({ "title": "Payment", "fields": [
        { "label": "To", "value": to }, { "label": "Amount", "value": "120.00 EUR" } ] })
}

fn words(to: &str) -> Transaction {
    serde_json::from_value(payment(to)).unwrap()
}

async fn succeed(bank: &Initiator, phone: &TestPhone, kind: &str) -> OpenedCeremony {
    let mut body = json!({ "type": kind, "username": "ada" });
    if kind == "approval" {
        body["transaction"] = payment("Grace");
    }
    let opened = bank.open(&body).await;
    phone.types(&opened);
    let closed = bank.outcome(opened.id).await;
    assert!(closed.result.is_some(), "{closed:?}");
    opened
}

async fn receipt(bank: &Initiator, of: &OpenedCeremony) -> String {
    let response = bank.get(&format!("/v1/ceremonies/{}/receipt", of.id)).await;
    assert_eq!(response.status(), 200);
    response.text().await.unwrap()
}

async fn keys(bank: &Initiator) -> JwkSet {
    bank.get("/.well-known/jwks.json").await.json().await.unwrap()
}

#[tokio::test]
async fn a_receipt_lets_an_auditor_verify_the_card_and_the_words_without_the_relay() {
    let relay = TestRelay::start_with(|config| config.receipts = true).await;
    let bank = relay.initiator().await;
    let phone = relay.phone(&bank, "ada").await;
    let mut receipts = Vec::new();
    for kind in ["registration", "authentication", "approval"] {
        let opened = succeed(&bank, &phone, kind).await;
        receipts.push((opened.id, receipt(&bank, &opened).await));
    }
    let keys = keys(&bank).await;
    let _kept = relay.stop().await;

    for (id, jws) in &receipts {
        let proven = check(jws, &keys, None, None).unwrap();
        assert_eq!((proven.receipt.jti, proven.receipt.sub.as_str()), (*id, "ada"));
        assert!(proven.shown.user_verified && proven.shown.user_present);
        assert!(proven.receipt.opened_at <= proven.receipt.closed_at);
    }
    let [registration, authentication, approval] = receipts.each_jws();
    assert!(check(registration, &keys, None, None).unwrap().shown.made.is_some());
    assert_eq!(
        check(authentication, &keys, None, None).unwrap().transaction,
        TransactionCheck::None
    );
    assert_eq!(check(approval, &keys, None, None).unwrap().transaction, TransactionCheck::NotGiven);
    let with = |to| check(approval, &keys, Some(&words(to)), None);
    assert_eq!(with("Grace").unwrap().transaction, TransactionCheck::Card);
    assert!(matches!(with("Mallory"), Err(ReceiptError::Contradiction(_))));
    assert!(check(authentication, &keys, Some(&words("Grace")), None).is_err());
    // A registration's receipt has the same key, and another ceremony's is no registration.
    assert!(check(approval, &keys, None, Some(registration)).is_ok());
    assert!(check(approval, &keys, None, Some(authentication)).is_err());
}

trait EachJws {
    fn each_jws(&self) -> [&str; 3];
}

impl<T> EachJws for Vec<(T, String)> {
    fn each_jws(&self) -> [&str; 3] {
        [&self[0].1, &self[1].1, &self[2].1]
    }
}

#[tokio::test]
async fn only_the_opener_gets_a_receipt_and_gets_the_same_one_after_a_restart() {
    let relay = TestRelay::start_with(|config| config.receipts = true).await;
    let bank = relay.initiator().await;
    let other = relay.initiator().await;
    let phone = relay.phone(&bank, "ada").await;
    let opened = succeed(&bank, &phone, "registration").await;
    let path = format!("/v1/ceremonies/{}/receipt", opened.id);
    let unknown = other.get("/v1/ceremonies/cer_AAAAAAAAAAAAAAAAAAAAAA/receipt").await;
    let refused = other.get(&path).await;
    assert_eq!((refused.status(), unknown.status()), (404.try_into().unwrap(), refused.status()));
    assert_eq!(refused.text().await.unwrap(), unknown.text().await.unwrap(), "byte for byte");
    let url = format!("{}{path}", relay.url());
    let page = bank.http.get(url).bearer_auth(&opened.ticket).send().await.unwrap();
    assert_eq!(page.status(), 401, "a page's ticket is no key");
    let denied = bank.open(&json!({ "type": "authentication", "username": "ada" })).await;
    bank.delete(&format!("/v1/ceremonies/{}", denied.id)).await;
    let none = bank.get(&format!("/v1/ceremonies/{}/receipt", denied.id)).await;
    assert_eq!(none.status(), 404, "only what succeeded has one");

    let payload = |jws: &str| jws.split('.').nth(1).unwrap().to_owned();
    let before = receipt(&bank, &opened).await;
    drop(phone);
    let relay = relay.restart().await;
    let after = receipt(&bank, &opened).await;
    assert_eq!(payload(&before), payload(&after));
    drop(relay);
}

#[tokio::test]
async fn without_receipts_nothing_of_the_answer_outlives_the_ceremony() {
    for receipts in [false, true] {
        let relay = TestRelay::start_with(|config| config.receipts = receipts).await;
        let bank = relay.initiator().await;
        let phone = relay.phone(&bank, "ada").await;
        let opened = succeed(&bank, &phone, "registration").await;
        let path = format!("/v1/ceremonies/{}/receipt", opened.id);
        let status = bank.get(&path).await.status().as_u16();
        assert_eq!(status, if receipts { 200 } else { 404 });
        let store = &relay.running.relay().dependencies().store;
        let (_, stored) = store.list(Bucket::Ceremonies, "").await.unwrap().remove(0);
        let text = String::from_utf8(stored.value).unwrap();
        assert_eq!(text.contains("clientDataJSON"), receipts, "{text}");
        assert!(!text.contains(&opened.code.unwrap()), "{text}");
    }
}

#[tokio::test]
async fn with_another_fido2_server_the_registrations_receipt_brings_the_key() {
    let Some(server) = Fido2Server::start("receipts before a real FIDO2 server", &[]).await else {
        return;
    };
    let upstream = HttpUpstream::new(server.url().parse().unwrap());
    let relay = TestRelay::start_with(|config| {
        config.upstream = Upstream::Http(upstream);
        config.receipts = true;
    })
    .await;
    let bank = relay.initiator().await;
    let phone = relay.phone(&bank, "ada").await;
    let registered = succeed(&bank, &phone, "registration").await;
    let approved = succeed(&bank, &phone, "approval").await;
    let (registration, approval) =
        (receipt(&bank, &registered).await, receipt(&bank, &approved).await);
    let keys = keys(&bank).await;
    assert_eq!(check(&approval, &keys, None, None).unwrap_err(), ReceiptError::KeyUnknown);
    let proven = check(&approval, &keys, Some(&words("Grace")), Some(&registration)).unwrap();
    assert_eq!(
        proven.transaction,
        TransactionCheck::Relay,
        "that server's challenge covers no words"
    );
}
