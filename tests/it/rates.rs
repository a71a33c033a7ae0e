//! How fast clients, addresses and devices may go on, over real connections.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fido_relay::config::{Config, RateLimits};
use fido_relay_rig::phone::DeviceKey;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::raw_socket::{Heard, RawSocket, text};
use crate::support::relay::{Initiator, TestRelay};
use crate::support::stub_relay::Switchable;

fn rates(change: impl FnOnce(&mut RateLimits)) -> impl FnOnce(&mut Config) {
    |config| change(&mut config.limits.rates)
}

fn order(username: &str) -> Value {
    // Of strangers the oldest would make room.
    json!({ "type": "authentication", "username": username, "prior_auth": "session" })
}

async fn opens(initiator: &Initiator, username: &str) -> Response {
    initiator.post("/v1/ceremonies", &order(username)).await
}

/// The refusal's seconds to wait.
#[track_caller]
fn wait_of(response: &Response, status: u16) -> u64 {
    assert_eq!(response.status(), status);
    response.headers()["retry-after"].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_client_that_opens_too_fast_is_told_when_to_come_again_whoever_it_is_for() {
    let relay = TestRelay::start_with(rates(|rates| {
        (rates.opens_per_s, rates.opens_burst) = (1, 3);
    }))
    .await;
    let (one, other) = (relay.initiator().await, relay.initiator().await);
    relay.pair(&one, "ada").await;
    let (mut opened, mut refusals) = (0, Vec::new());
    let started = Instant::now();
    for _ in 0..6 {
        // One user has a phone, the other is unknown.
        for username in ["ada", "nobody"] {
            let response = opens(&one, username).await;
            if response.status() == StatusCode::CREATED {
                opened += 1;
                let allowed = 3 + started.elapsed().as_secs();
                assert!(opened <= allowed, "{opened}: the burst is three, and one more a second");
                continue;
            }
            assert_eq!(wait_of(&response, 429), 1);
            refusals.push((username, response.text().await.unwrap()));
        }
    }
    for username in ["ada", "nobody"] {
        assert!(refusals.iter().any(|(refused, _)| *refused == username), "{refusals:?}");
    }
    assert!(refusals.iter().all(|(_, body)| *body == refusals[0].1), "{refusals:?}");
    assert_eq!(opens(&other, "ada").await.status(), 201, "another client has its own");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(opens(&one, "nobody").await.status(), 201);
}

#[tokio::test]
async fn of_those_that_come_at_once_no_more_than_the_limit_is_opened() {
    let relay = TestRelay::start_with(rates(|rates| rates.open_per_client = 5)).await;
    let (one, other) = (relay.initiator().await, relay.initiator().await);
    let all = futures::future::join_all((0..40).map(|_| opens(&one, "ada"))).await;
    let mut opened = Vec::new();
    for response in all {
        if response.status() == StatusCode::CREATED {
            opened.push(response.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned());
        } else {
            assert!(wait_of(&response, 429) >= 1);
        }
    }
    assert_eq!(opened.len(), 5);
    assert_eq!(opens(&other, "ada").await.status(), 201, "another client has its own");
    let path = format!("/v1/ceremonies/{}", opened[0]);
    assert_eq!(one.delete(&path).await.status(), 200);
    assert_eq!(opens(&one, "ada").await.status(), 201, "what is closed makes room");
    assert_eq!(opens(&one, "nobody").await.status(), 429);
}

#[tokio::test]
async fn the_same_order_again_is_no_other_ceremony_though_there_is_room_for_none() {
    let relay = TestRelay::start_with(rates(|rates| rates.open_per_client = 1)).await;
    let initiator = relay.initiator().await;
    let keyed = || {
        let url = format!("{}/v1/ceremonies", initiator.url);
        let request = initiator.http.post(url).bearer_auth(&initiator.key);
        request.header("idempotency-key", "one").json(&order("ada")).send()
    };
    let first: Value = keyed().await.unwrap().json().await.unwrap();
    let again: Value = keyed().await.unwrap().json().await.unwrap();
    assert_eq!((&again["id"], &again["code"]), (&first["id"], &first["code"]));
    assert_eq!(opens(&initiator, "ada").await.status(), 429);
}

#[tokio::test]
async fn a_full_node_says_so_to_every_client_and_has_room_again() {
    let relay = TestRelay::start_with(rates(|rates| rates.open_per_node = 2)).await;
    let (one, other) = (relay.initiator().await, relay.initiator().await);
    let first: Value = opens(&one, "ada").await.json().await.unwrap();
    assert_eq!(opens(&other, "bob").await.status(), 201);
    for initiator in [&one, &other] {
        assert!(wait_of(&opens(initiator, "ada").await, 503) >= 1);
    }
    let path = format!("/v1/ceremonies/{}", first["id"].as_str().unwrap());
    assert_eq!(one.delete(&path).await.status(), 200);
    assert_eq!(opens(&other, "ada").await.status(), 201);
    // What was open is counted again after a restart.
    let relay = relay.restart().await;
    relay.running.relay().ceremonies.recovered().await;
    assert!(wait_of(&opens(&one, "ada").await, 503) >= 1);
}

/// Posts a pairing from an address of this machine.
async fn pairs(relay: &TestRelay, token: &str, from: [u8; 4]) -> Response {
    let url = format!("{}/v1/devices", relay.url());
    let key = DeviceKey::generate().unwrap();
    let body = json!({
        "pairing_token": token,
        "jwk": key.jwk(),
        "proof": key.pairing_proof(&url, token).unwrap(),
        "platform": "other",
    });
    let http = reqwest::Client::builder().no_proxy().local_address(IpAddr::from(from));
    http.build().unwrap().post(url).json(&body).send().await.unwrap()
}

async fn token(initiator: &Initiator) -> String {
    initiator.pairing("ada").await.pairing_token
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn failed_pairings_use_an_address_up_and_leave_others_alone() {
    let relay = TestRelay::start_with(rates(|rates| {
        (rates.attempts_per_s, rates.attempts_burst) = (1, 30);
    }))
    .await;
    let initiator = relay.initiator().await;
    let (guesser, honest) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    let mut wrong = 0;
    let refused = loop {
        let response = pairs(&relay, "not-a-token", guesser).await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            break response;
        }
        assert_eq!(response.status(), 401);
        wrong += 1;
        assert!(wrong < 20, "each counts as ten");
    };
    assert!(wrong >= 3, "three times ten");
    assert!(wait_of(&refused, 429) >= 1);
    let good = token(&initiator).await;
    assert_eq!(pairs(&relay, &good, guesser).await.status(), 429, "good or not");
    assert_eq!(pairs(&relay, &good, honest).await.status(), 201, "it was not used up");
}

#[tokio::test]
async fn nobody_pairs_while_the_store_is_down_and_no_token_is_used_up() {
    let store = Arc::new(Switchable::default());
    let relay = TestRelay::start_on(Arc::clone(&store) as _, |_| {}).await;
    let good = token(&relay.initiator().await).await;
    store.is_down.store(true, Ordering::Relaxed);
    assert!(wait_of(&pairs(&relay, &good, [127, 0, 0, 1]).await, 503) >= 1);
    store.is_down.store(false, Ordering::Relaxed);
    assert_eq!(pairs(&relay, &good, [127, 0, 0, 1]).await.status(), 201);
}

#[tokio::test]
async fn a_device_that_dials_too_often_is_told_so_and_let_in_later() {
    let relay = TestRelay::start_with(rates(|rates| rates.sockets_per_min = 60)).await;
    let initiator = relay.initiator().await;
    let (ada, bob) = (relay.pair(&initiator, "ada").await, relay.pair(&initiator, "bob").await);
    let dial = async |phone: &fido_relay_rig::phone::Paired| {
        let mut socket = RawSocket::upgraded(&relay.url()).await;
        let nonce = socket.hello().await;
        let proof = phone.key.auth_proof(&phone.socket_url, &nonce, phone.device_id).unwrap();
        socket.send(&text(&json!({ "type": "auth", "proof": proof }).to_string())).await;
        socket
    };
    let mut welcomes = 0;
    let (code, name) = loop {
        let mut socket = dial(&ada).await;
        match socket.next().await {
            Heard::Text(frame) => assert!(frame.contains("\"welcome\""), "{frame}"),
            Heard::Close(code, name) => break (code, name),
            other => panic!("{other:?}"),
        }
        welcomes += 1;
        assert!(welcomes < 1_000);
    };
    assert_eq!((code, name.as_str()), (4429, "too_many_sockets"));
    assert!(welcomes >= 60, "{welcomes}");
    let Heard::Text(frame) = dial(&bob).await.next().await else { panic!("bob has his own") };
    assert!(frame.contains("\"welcome\""), "{frame}");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let Heard::Text(frame) = dial(&ada).await.next().await else { panic!("still too often") };
    assert!(frame.contains("\"welcome\""), "{frame}");
}
