//! Watchers over time, on a clock that takes none: signs of life, rights that end, readers that do
//! not read, and a thousand who wait.

use std::time::Duration;

use fido_relay::app::ceremonies::CeremonyKey;
use fido_relay::app::clients;
use fido_relay::app::clients::Clients;
use fido_relay::core::ceremony::Event;
use fido_relay_proto::TenantId;
use futures::future::{join, join_all};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::roads::parsed;
use crate::support::actions::{app_of, operator};
use crate::support::stub_relay::StubRelay;

fn order() -> Value {
    json!({ "type": "authentication", "username": "ada" })
}

fn key(id: &str) -> CeremonyKey {
    CeremonyKey { tenant: TenantId::default(), id: id.parse().unwrap() }
}

/// The events of a stream that ended, and its comments.
async fn stream(relay: &StubRelay, id: &str, bearer: &str) -> (Vec<String>, usize) {
    let path = format!("/v1/ceremonies/{id}/events");
    let came = relay.call("GET", &path, bearer, &Value::Null).await;
    assert_eq!(came.status, 200, "{came:?}");
    let Value::String(text) = came.body else { panic!("{:?}", came.body) };
    let comments = text.split("\n\n").filter(|block| block.starts_with(':')).count();
    let events = text.split("\n\n").filter_map(parsed);
    (events.map(|event| format!("{:?}", event.step)).collect(), comments)
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_says_every_quarter_of_a_minute_that_it_is_still_there() {
    let relay = StubRelay::start().await;
    let (id, _, ticket) = relay.open(&order()).await;
    let (events, comments) = stream(&relay, &id, &ticket).await;
    assert_eq!(events, ["Opened", "Closed"], "it expired");
    // 120 s of life; at the last multiple the one or the other may be first.
    assert!((7..=8).contains(&comments), "{comments}");
    assert_eq!(relay.relay.occupancy().watched, 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_removed_in_the_middle_hears_no_more() {
    let relay = StubRelay::start().await;
    let (id, ..) = relay.open(&order()).await;
    let app = app_of(relay.relay.dependencies());
    let clients = Clients::new(app.store.clone());
    let client = clients.list(&TenantId::default()).await.unwrap().remove(0);
    let began = Instant::now();
    let remove = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        clients::remove(&app, &operator(), client.id).await.unwrap();
    };
    let ((events, _), ()) = join(stream(&relay, &id, &relay.key), remove).await;
    assert_eq!(events, ["Opened"]);
    assert!(began.elapsed() <= Duration::from_secs(31), "at the next look: {:?}", began.elapsed());

    // With news in between it is the news that it does not get.
    let relay = StubRelay::start().await;
    let (id, ..) = relay.open(&order()).await;
    let app = app_of(relay.relay.dependencies());
    let clients = Clients::new(app.store.clone());
    let client = clients.list(&TenantId::default()).await.unwrap().remove(0);
    let remove = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        clients::remove(&app, &operator(), client.id).await.unwrap();
        relay.relay.ceremonies.advance(&key(&id), Event::Cancel).await.unwrap();
    };
    let ((events, _), ()) = join(stream(&relay, &id, &relay.key), remove).await;
    assert_eq!(events, ["Opened"]);
}

#[tokio::test(start_paused = true)]
async fn a_ticket_that_has_died_ends_the_stream_that_it_opened() {
    let relay = StubRelay::start().await;
    let (id, _, ticket) = relay.open(&order()).await;
    // Closed more than a minute ago by a node whose notice was lost.
    let behind_its_back = async {
        tokio::time::sleep(Duration::from_secs(70)).await;
        relay.cancel_in_store(&id).await;
    };
    let ((events, _), ()) = join(stream(&relay, &id, &ticket), behind_its_back).await;
    assert_eq!(events, ["Opened"], "it is not told what it may not see any more");
    let path = format!("/v1/ceremonies/{id}/events");
    assert_eq!(relay.call("GET", &path, &ticket, &Value::Null).await.status, 401);
    let (events, _) = stream(&relay, &id, &relay.key).await;
    assert_eq!(events, ["Opened", "Closed"], "its opener still sees it");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_loses_its_place() {
    let relay = StubRelay::start().await;
    let (id, _, ticket) = relay.open(&order()).await;
    let path = format!("/v1/ceremonies/{id}/events");
    let unread = relay.open_stream(&path, Some(&ticket)).await;
    assert_eq!(unread.status(), 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(relay.relay.occupancy().watched, 1);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(relay.relay.occupancy().watched, 0, "the ceremony is still open, the place is free");
    drop(unread);

    // And one that goes away frees it at once.
    let gone = relay.open_stream(&path, Some(&ticket)).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    drop(gone);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(relay.relay.occupancy().watched, 0);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_watchers_all_hear_of_the_end_and_leave_nothing_behind() {
    let relay = StubRelay::start().await;
    let (id, _, ticket) = relay.open(&order()).await;
    let watchers = (0..1_000).map(|number| {
        let bearer = if number % 2 == 0 { &ticket } else { &relay.key };
        stream(&relay, &id, bearer)
    });
    let end = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(relay.relay.occupancy().watched, 1, "one room for all of them");
        relay.relay.ceremonies.advance(&key(&id), Event::Cancel).await.unwrap();
    };
    let (all, ()) = join(join_all(watchers), end).await;
    assert_eq!(all.len(), 1_000);
    for (events, comments) in all {
        assert_eq!((events, comments), (vec!["Opened".to_owned(), "Closed".to_owned()], 0));
    }
    assert_eq!(relay.relay.occupancy(), fido_relay::node::NodeOccupancy::default());
}
