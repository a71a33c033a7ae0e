//! The ticket in a URL: good once, for one ceremony, for half a minute.

use std::time::Duration;

use fido_relay_proto::Binding;
use fido_relay_proto::watch::EventTicket;
use futures::future::join_all;
use serde_json::{Value, json};

use super::LONG;
use super::roads::PATIENCE;
use super::stage::{Opened, Stage};
use crate::support::stub_relay::StubRelay;

async fn exchange(stage: &Stage, opened: &Opened) -> String {
    let url = format!("{}/v1/ceremonies/{}/events/ticket", stage.relay.url(), opened.id);
    let response = stage.initiator.http.post(url).bearer_auth(&opened.ticket).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let EventTicket { ticket, expires_in } = response.json().await.unwrap();
    assert_eq!(expires_in, 30);
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    assert!(ticket.chars().all(safe), "nothing in it needs escaping");
    ticket
}

async fn get(stage: &Stage, opened: &Opened, ticket: &str) -> reqwest::Response {
    let id = opened.id;
    let url = format!("{}/v1/ceremonies/{id}/events?ticket={ticket}", stage.relay.url());
    tokio::time::timeout(PATIENCE, stage.initiator.http.get(url).send()).await.unwrap().unwrap()
}

#[tokio::test]
async fn of_a_hundred_who_come_with_one_ticket_at_once_one_is_let_in() {
    let stage = Stage::set_with(|config| config.limits.watchers_per_ceremony = 200).await;
    let opened = stage.open(Binding::Code, LONG).await;
    for _ in 0..3 {
        let ticket = exchange(&stage, &opened).await;
        let all = join_all((0..100).map(|_| get(&stage, &opened, &ticket))).await;
        let let_in = all.iter().filter(|response| response.status() == 200).count();
        let refused = all.iter().filter(|response| response.status() == 401).count();
        assert_eq!((let_in, refused), (1, 99));
    }
}

#[tokio::test]
async fn a_used_ticket_stays_used_and_a_fresh_one_stays_good_over_a_restart() {
    let stage = Stage::set().await;
    let opened = stage.open(Binding::Code, LONG).await;
    let [used, fresh] = [exchange(&stage, &opened).await, exchange(&stage, &opened).await];
    assert_eq!(get(&stage, &opened, &used).await.status(), 200);
    let stage = stage.restart().await;
    let again = get(&stage, &opened, &used).await;
    assert_eq!(again.status(), 401);
    let problem: Value = again.json().await.unwrap();
    assert_eq!(problem["code"], "unauthorized");
    assert_eq!(get(&stage, &opened, &fresh).await.status(), 200);
}

#[tokio::test]
async fn it_opens_no_other_ceremony_no_other_road_and_nothing_beside_a_header() {
    let stage = Stage::set().await;
    let opened = stage.open(Binding::Code, LONG).await;
    let other = stage.open(Binding::Code, LONG).await;
    let ticket = exchange(&stage, &opened).await;
    assert_eq!(get(&stage, &other, &ticket).await.status(), 404);
    let base = format!("{}/v1/ceremonies/{}", stage.relay.url(), opened.id);
    for (path, status) in [("", 401), ("/events", 401), ("/socket", 401)] {
        let request = stage.initiator.http.get(format!("{base}{path}")).bearer_auth(&ticket);
        assert_eq!(request.send().await.unwrap().status(), status, "{path}");
    }
    let exchanged = stage.initiator.http.post(format!("{base}/events/ticket")).bearer_auth(&ticket);
    assert_eq!(exchanged.send().await.unwrap().status(), 401, "none for one of its own kind");
    let socket = stage.initiator.http.get(format!("{base}/socket?ticket={ticket}"));
    assert_eq!(socket.send().await.unwrap().status(), 400);
    let both = stage
        .initiator
        .http
        .get(format!("{base}/events?ticket={ticket}"))
        .bearer_auth(&opened.ticket);
    assert_eq!(both.send().await.unwrap().status(), 400);
    for text in [&opened.ticket, &stage.initiator.key, "", "evt_", "evt_AAAA"] {
        assert_eq!(get(&stage, &opened, text).await.status(), 401, "{text}");
    }
    // None of this used it up.
    assert_eq!(get(&stage, &opened, &ticket).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn it_dies_after_half_a_minute_and_its_use_is_forgotten_only_later() {
    let relay = StubRelay::start().await;
    let order = json!({ "type": "authentication", "username": "ada" });
    let (id, _, ticket) = relay.open(&order).await;
    let path = format!("/v1/ceremonies/{id}/events");
    let exchange = async || {
        let path = format!("{path}/ticket");
        let came = relay.call("POST", &path, &ticket, &Value::Null).await;
        came.body["ticket"].as_str().unwrap().to_owned()
    };
    let get = async |event_ticket: &str| {
        let path = format!("{path}?ticket={event_ticket}");
        relay.open_stream(&path, None).await.status().as_u16()
    };
    let [in_time, late] = [exchange().await, exchange().await];
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(get(&in_time).await, 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(get(&late).await, 401);
    // A clock that is set back revives the one and not the other.
    relay.clock.set_back(Duration::from_secs(20));
    relay.relay.sweep().await.unwrap();
    assert_eq!(get(&in_time).await, 401, "used");
    assert_eq!(get(&late).await, 200);
}
