//! Kills while ends are delivered: each end of a ceremony reaches the webhook endpoint under one id
//! and is in the audit log once. `TOLD_KILLS=50 TOLD_ENDS=200` in the environment makes 10,000 ends
//! over 50 kills.

use std::collections::BTreeMap;
use std::time::Duration;

use fido_relay::ports::{Bucket, Store as _};
use fido_relay::security::random;
use fido_relay::serve::DataDirectory;
use fido_relay_proto::CeremonyId;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::audit;
use crate::simulation::number;
use crate::support::accepting_server::accepting_server;
use crate::support::child_relay::{ChildRelay, Home};
use crate::support::own_port::OwnPort;
use crate::support::relay::Initiator;
use crate::webhooks::receiver::Receiver;

/// Kills in an ordinary run of the tests, and ends around each.
const KILLS: u64 = 4;
const ENDS: u64 = 40;
/// The latest kill after the last end was asked for.
const LATEST: u64 = 30_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// Opens a ceremony and cancels it, as far as the relay lives.
async fn ends(bank: &Initiator, user: String) {
    let url = |path: &str| format!("{}{path}", bank.url);
    let body = json!({ "type": "authentication", "username": user, "prior_auth": "session" });
    let open = bank.http.post(url("/v1/ceremonies")).bearer_auth(&bank.key).json(&body);
    let Ok(opened) = open.send().await else { return };
    let Ok(opened) = opened.json::<Value>().await else { return };
    let Some(id) = opened["id"].as_str() else { return };
    let cancel = bank.http.delete(url(&format!("/v1/ceremonies/{id}")));
    drop(cancel.bearer_auth(&bank.key).send().await);
}

/// What is stored while no relay runs.
async fn stored(home: &Home) -> Vec<CeremonyId> {
    let store = DataDirectory::at(&home.data_dir()).open().unwrap();
    let records = store.list(Bucket::Ceremonies, "").await.unwrap();
    let id = |(key, _): (String, _)| key.rsplit('.').next().unwrap().parse().unwrap();
    records.into_iter().map(id).collect()
}

#[tokio::test]
async fn each_end_is_told_under_one_id_and_logged_once_however_the_relay_was_killed() {
    let (kills, ends_each) = (number("TOLD_KILLS", KILLS), number("TOLD_ENDS", ENDS));
    let (port, upstream) = (OwnPort::reserve(), accepting_server());
    let receiver = Receiver::start().await;
    let (listen, url) = (port.address.to_string(), upstream.url());
    let mut variables = vec![
        ("FIDO_RELAY_LISTEN", listen.as_str()),
        ("FIDO_RELAY_UPSTREAM__URL", &url),
        ("FIDO_RELAY_TENANT__RP_ID", "localhost"),
        ("FIDO_RELAY_LIMITS__OPENS_BURST", "100000"),
    ];
    let hooks = receiver.variables();
    variables.extend(hooks.iter().map(|(name, value)| (*name, value.as_str())));
    let home = Home::new(&variables);
    let key = home.api_key().await;
    for kill in 0..kills {
        let relay = ChildRelay::start(&home).await;
        let bank = relay.initiator(&key);
        if kill == 0 {
            let made = bank
                .post(
                    "/v1/webhooks",
                    &json!({ "url": receiver.url(), "events": ["ceremony.closed"],
                        "schemes": ["v1a"] }),
                )
                .await;
            assert_eq!(made.status(), 201);
        }
        let all = stream::iter(0..ends_each)
            .for_each_concurrent(16, |nth| ends(&bank, format!("user-{kill}-{nth}")));
        // At any moment of it, or a little later, while webhooks are delivered.
        let moment = random::below(4);
        if moment == 0 {
            let part = Duration::from_millis(random::below(300));
            drop(timeout(part, all).await);
        } else {
            all.await;
            sleep(Duration::from_micros(random::below(LATEST))).await;
        }
        relay.kill().await;
    }
    let stored = stored(&home).await;
    let relay = ChildRelay::start(&home).await;
    let bank = relay.initiator(&key);
    // What was opened and not cancelled ends now.
    for id in &stored {
        bank.delete(&format!("/v1/ceremonies/{id}")).await;
    }
    let told = || {
        let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for received in receiver.received() {
            let of = received.json()["data"]["id"].as_str().unwrap().to_owned();
            told.entry(of).or_default().push(received.header("webhook-id").to_owned());
        }
        told
    };
    let all_told = async {
        while told().len() < stored.len() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = timeout(PATIENCE, all_told).await;
    assert!(in_time.is_ok(), "{} of {} were told", told().len(), stored.len());
    for (id, mut ids) in told() {
        ids.dedup();
        assert_eq!(ids.len(), 1, "{id} was told under several ids");
        assert!(stored.contains(&id.parse::<CeremonyId>().unwrap()), "{id} is not stored");
    }
    relay.kill().await;
    let relay = ChildRelay::start(&home).await;
    relay.stop().await;
    let mut closed: BTreeMap<String, u32> = BTreeMap::new();
    for line in audit::lines(&home.data_dir().join("audit")) {
        let entry: Value = serde_json::from_str(&line).unwrap();
        if entry["event"] == "closed" {
            *closed.entry(entry["ceremony"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(closed.len(), stored.len());
    assert!(closed.values().all(|times| *times == 1), "each end is in the log once");
    assert!(stored.len() as u64 > kills * ends_each / 2, "{} ends", stored.len());
}
