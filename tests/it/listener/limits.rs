//! Places, rates and pressure.

use std::time::Duration;

use fido_relay::config::Config;
use serde_json::json;
use tokio::time::timeout;

use super::{PATIENCE, asks, from, is_turned_away};
use crate::support::fixture::Fixture;
use crate::support::raw_socket::{RawSocket, UPGRADE};
use crate::support::relay::{Initiator, TestRelay};

#[tokio::test]
async fn strangers_of_one_address_have_so_many_connections_and_known_phones_none_of_them() {
    let fixture = Fixture::with(|config| {
        config.limits.listener.connections_per_ip = 3;
        // No stranger is old enough to make room.
        config.limits.listener.eviction_age = Duration::from_secs(600);
        config.limits.headers = Duration::from_secs(20);
        config.limits.accept_to_auth = Duration::from_secs(60);
    })
    .await;
    let url = fixture.relay.url();
    let here = [127, 0, 0, 7];
    // Five phones in turn, each of which has authenticated.
    let mut phones = Vec::new();
    for username in ["b1", "b2", "b3", "b4", "b5"] {
        let paired = fixture.relay.pair(&fixture.initiator, username).await;
        let mut phone = from(here, &url).await;
        assert_eq!(asks(&mut phone, "/v1/device/socket", &UPGRADE).await.status, 101);
        phone.authenticates(&paired).await;
        phones.push(phone);
    }
    let mut strangers = Vec::new();
    for _ in 0..3 {
        strangers.push(from(here, &url).await);
    }
    assert!(is_turned_away(&mut from(here, &url).await).await, "a fourth stranger");
    let mut elsewhere = from([127, 0, 0, 8], &url).await;
    assert_eq!(asks(&mut elsewhere, "/healthz", &[]).await.status, 200);
    for mut stranger in strangers {
        assert_eq!(asks(&mut stranger, "/healthz", &[]).await.status, 200, "it was let in");
    }
    // Their places come back, as soon as the relay has noticed.
    let waiting = async { while is_turned_away(&mut from(here, &url).await).await {} };
    timeout(PATIENCE, waiting).await.expect("a place is free again");
    fixture.open_ceremony_completes().await;
}

#[tokio::test]
async fn who_connects_too_often_is_turned_away_and_nobody_else() {
    let fixture = Fixture::with(|config| {
        config.limits.listener.handshakes_per_s_per_ip = 2;
    })
    .await;
    let url = fixture.relay.url();
    let mut away = 0;
    for _ in 0..60 {
        away += usize::from(is_turned_away(&mut from([127, 0, 0, 9], &url).await).await);
    }
    // Twenty at once, two a second then: even a slow machine does not need half a minute for it.
    assert!(away > 0, "all 60 came in");
    let mut other = from([127, 0, 0, 10], &url).await;
    assert_eq!(asks(&mut other, "/healthz", &[]).await.status, 200);
    fixture.open_ceremony_completes().await;
}

/// New things are refused, everything else goes on.
async fn nothing_new_but_all_the_rest(initiator: &Initiator) {
    let new = json!({ "type": "authentication", "username": "ada" });
    for (path, body) in [
        ("/v1/ceremonies", &new),
        ("/v1/pairings", &json!({ "username": "eve" })),
        ("/v1/devices", &json!({})),
        ("/fidoapi/certify/attestation/options", &json!({})),
        ("/fidoapi/certify/assertion/options", &json!({})),
        ("/fidoapi/register/begin", &json!({})),
        ("/fidoapi/authenticate/begin", &json!({})),
    ] {
        let response = initiator.post(path, body).await;
        assert_eq!(response.status(), 503, "{path}");
        let after: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((5..=15).contains(&after), "{path}: {after}");
    }
    let (_, head) = RawSocket::ask(&initiator.url, &UPGRADE).await;
    assert_eq!(head.status, 503, "{head:?}");
    assert!(head.header("retry-after").is_some());
    assert_eq!(initiator.get("/v1/clients/self").await.status(), 200);
    assert_eq!(initiator.get("/healthz").await.status(), 200);
}

#[tokio::test]
async fn with_nearly_all_connections_taken_nothing_new_begins_and_the_rest_goes_on() {
    let fixture = Fixture::with(|config| {
        config.limits.listener.connections_per_node = 40;
        config.limits.headers = Duration::from_secs(60);
        config.limits.accept_to_auth = Duration::from_secs(60);
    })
    .await;
    let mut crowd = Vec::new();
    let key = format!("Bearer {}", fixture.initiator.key);
    for _ in 0..36 {
        let mut client = from([127, 0, 0, 11], &fixture.relay.url()).await;
        let head = asks(&mut client, "/v1/clients/self", &[("Authorization", &key)]).await;
        assert_eq!(head.status, 200, "a client that has authenticated makes no room");
        crowd.push(client);
    }
    nothing_new_but_all_the_rest(&fixture.initiator).await;
    assert_eq!(fixture.initiator.read(fixture.open.id).await.id, fixture.open.id);
    drop(crowd);
    let new = json!({ "type": "authentication", "username": "ada" });
    let calm =
        async { while fixture.initiator.post("/v1/ceremonies", &new).await.status() == 503 {} };
    timeout(PATIENCE, calm).await.expect("it begins again");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn with_memory_short_nothing_new_begins_and_the_rest_goes_on() {
    let change = |config: &mut Config| config.limits.listener.memory_mib = Some(1);
    let relay = TestRelay::start_with(change).await;
    let initiator = relay.initiator().await;
    // It is looked at within a second.
    let new = json!({ "type": "authentication", "username": "eve" });
    let short = async { while initiator.post("/v1/ceremonies", &new).await.status() != 503 {} };
    timeout(PATIENCE, short).await.expect("the memory was looked at");
    nothing_new_but_all_the_rest(&initiator).await;
}

#[tokio::test]
async fn a_crowd_of_connections_makes_room_for_whoever_comes_from_elsewhere() {
    let fixture = Fixture::with(|config| {
        config.limits.listener.connections_per_node = 20;
        config.limits.listener.eviction_age = Duration::from_secs(600);
        config.limits.headers = Duration::from_secs(60);
        config.limits.accept_to_auth = Duration::from_secs(60);
        config.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    })
    .await;
    let mut crowd = Vec::new();
    for _ in 0..30 {
        crowd.push(from([127, 0, 12, 1], &fixture.relay.url()).await);
    }
    // A flood displaces its own connections: a phone and a backend get in.
    fixture.open_ceremony_completes().await;
    fixture.initiator.open(&json!({ "type": "authentication", "username": "ada" })).await;
    assert!(super::refused(&fixture.relay, "evicted").await > 0.0);
    assert_eq!(super::refused(&fixture.relay, "pressure_connections").await, 0.0);
}

#[tokio::test]
async fn strangers_sockets_make_room_for_phones_from_elsewhere() {
    let fixture = Fixture::with(|config| {
        config.limits.unauthenticated_per_node = 8;
        config.limits.listener.eviction_age = Duration::from_secs(600);
        config.limits.accept_to_auth = Duration::from_secs(60);
    })
    .await;
    let url = fixture.relay.url();
    let mut crowd = Vec::new();
    for number in 0..8 {
        let mut socket = from([127, 0, 13, 1 + number % 4], &url).await;
        assert_eq!(asks(&mut socket, "/v1/device/socket", &UPGRADE).await.status, 101);
        socket.hello().await;
        crowd.push(socket);
    }
    let mut ninth = from([127, 0, 13, 1], &url).await;
    let head = asks(&mut ninth, "/v1/device/socket", &UPGRADE).await;
    assert_eq!(head.status, 429, "its own network is the crowd, and all of it is young");
    timeout(PATIENCE, ninth.hung_up()).await.expect("it does not stay without a socket");
    let mut phone = from([127, 0, 14, 1], &url).await;
    assert_eq!(asks(&mut phone, "/v1/device/socket", &UPGRADE).await.status, 101);
    phone.authenticates(&fixture.ada).await;
    timeout(PATIENCE, crowd[0].hung_up()).await.expect("the oldest made room");
    assert!(!crowd[1].is_over(), "and no other");
}

#[tokio::test]
async fn a_ticket_takes_no_connection_out_of_its_addresss_count() {
    let fixture = Fixture::with(|config| {
        config.limits.listener.connections_per_ip = 3;
        config.limits.listener.eviction_age = Duration::from_secs(600);
        config.limits.headers = Duration::from_secs(60);
    })
    .await;
    let (url, here) = (fixture.relay.url(), [127, 0, 0, 15]);
    let path = format!("/v1/ceremonies/{}/events", fixture.open.id);
    let bearer = format!("Bearer {}", fixture.open.ticket);
    let mut pages = Vec::new();
    for _ in 0..3 {
        let mut page = from(here, &url).await;
        let head = asks(&mut page, &path, &[("Authorization", &bearer)]).await;
        assert_eq!(head.status, 200, "{head:?}");
        pages.push(page);
    }
    assert!(is_turned_away(&mut from(here, &url).await).await, "a fourth page");
}
