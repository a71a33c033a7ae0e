//! How a watcher's socket lives and ends, on a clock that takes no time: pings either way, a
//! watcher that goes away or falls silent, a credential that dies, a store that does not answer.

use std::time::Duration;

use fido_relay::app::ceremonies::CeremonyKey;
use fido_relay::app::clients;
use fido_relay::app::clients::Clients;
use fido_relay::core::ceremony::Event;
use fido_relay_proto::TenantId;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::support::actions::{app_of, operator};
use crate::support::stub_relay::{PaperSocket, StubRelay};

/// Between two pings of the relay.
const BEAT: Duration = Duration::from_secs(15);

fn order() -> Value {
    json!({ "type": "authentication", "username": "ada", "timeout_s": 600 })
}

fn key(id: &str) -> CeremonyKey {
    CeremonyKey { tenant: TenantId::default(), id: id.parse().unwrap() }
}

/// The steps that a socket tells until it is closed, how many pings came, and the close.
async fn rest(socket: &mut PaperSocket) -> (Vec<String>, usize, (u16, String)) {
    let (mut steps, mut pings) = (Vec::new(), 0);
    loop {
        match socket.next().await.expect("a close comes first").unwrap() {
            Message::Text(text) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                steps.push(event["step"].as_str().unwrap().to_owned());
            }
            Message::Ping(_) => pings += 1,
            Message::Close(frame) => {
                let CloseFrame { code, reason } = frame.expect("with a code");
                // The reply to it goes out with the next read.
                assert!(socket.next().await.is_none());
                break (steps, pings, (code.into(), reason.to_string()));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn said(code: u16, reason: &str) -> (u16, String) {
    (code, reason.to_owned())
}

/// The place of a socket that ended is given back.
async fn is_free(relay: &StubRelay) {
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(relay.relay.occupancy().watched, 0);
}

#[tokio::test(start_paused = true)]
async fn a_watchers_ping_is_answered_with_its_own_bytes() {
    let relay = StubRelay::start().await;
    let (id, _, ticket) = relay.open(&order()).await;
    let mut socket = relay.watch_socket(&id, &ticket, 0).await;
    assert!(matches!(socket.next().await, Some(Ok(Message::Text(_)))));
    for bytes in ["", "probe", &"x".repeat(125)] {
        socket.send(Message::Ping(bytes.to_owned().into())).await.unwrap();
        let answer = socket.next().await.unwrap().unwrap();
        assert_eq!(answer, Message::Pong(bytes.to_owned().into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_answers_pings_stays_until_the_end() {
    let relay = StubRelay::start().await;
    let (id, _, ticket) = relay.open(&order()).await;
    let mut socket = relay.watch_socket(&id, &ticket, 0).await;
    let end = async {
        tokio::time::sleep(BEAT * 20 + BEAT / 2).await;
        relay.relay.ceremonies.advance(&key(&id), Event::Cancel).await.unwrap();
    };
    let (heard, ()) = futures::future::join(rest(&mut socket), end).await;
    let steps = ["opened", "closed"].map(str::to_owned).to_vec();
    assert_eq!(heard, (steps, 20, said(1000, "closed")));
    is_free(&relay).await;
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_leaves_its_pings_unanswered_is_closed_with_1001() {
    let relay = StubRelay::start().await;
    let (id, _, ticket) = relay.open(&order()).await;
    // Nothing is read, so nothing is answered.
    let mut socket = relay.watch_socket(&id, &ticket, 0).await;
    tokio::time::sleep(BEAT * 3 - Duration::from_secs(1)).await;
    assert_eq!(relay.relay.occupancy().watched, 1, "two pings may stay unanswered");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (steps, pings, close) = rest(&mut socket).await;
    assert_eq!((steps, pings, close), (vec!["opened".to_owned()], 2, said(1001, "silent")));
    is_free(&relay).await;
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_goes_away_is_answered_with_its_own_code() {
    let relay = StubRelay::start().await;
    for code in [1000, 1001] {
        let (id, _, ticket) = relay.open(&order()).await;
        let mut socket = relay.watch_socket(&id, &ticket, 0).await;
        assert!(matches!(socket.next().await, Some(Ok(Message::Text(_)))));
        let frame = CloseFrame { code: code.into(), reason: "leaving the page".into() };
        socket.close(Some(frame)).await.unwrap();
        assert_eq!(rest(&mut socket).await, (Vec::new(), 0, said(code, "")));
        is_free(&relay).await;
    }
    // One that vanishes without a word gives its place back too.
    let (id, _, ticket) = relay.open(&order()).await;
    drop(relay.watch_socket(&id, &ticket, 0).await);
    is_free(&relay).await;
}

#[tokio::test(start_paused = true)]
async fn a_watcher_whose_client_is_removed_is_closed_with_4401() {
    for has_news in [false, true] {
        let relay = StubRelay::start().await;
        let (id, ..) = relay.open(&order()).await;
        let app = app_of(relay.relay.dependencies());
        let clients = Clients::new(app.store.clone());
        let client = clients.list(&TenantId::default()).await.unwrap().remove(0);
        let mut socket = relay.watch_socket(&id, &relay.key, 0).await;
        let began = Instant::now();
        let remove = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            clients::remove(&app, &operator(), client.id).await.unwrap();
            if has_news {
                relay.relay.ceremonies.advance(&key(&id), Event::Cancel).await.unwrap();
            }
        };
        let ((steps, _, close), ()) = futures::future::join(rest(&mut socket), remove).await;
        assert_eq!(steps, ["opened"], "it is told nothing more, news or none");
        assert_eq!(close, said(4401, "unauthorized"));
        let within = if has_news { Duration::from_secs(2) } else { BEAT * 2 };
        assert!(began.elapsed() <= within, "{:?}", began.elapsed());
        is_free(&relay).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_watcher_whose_ticket_has_died_is_closed_with_4401() {
    let relay = StubRelay::start().await;
    let (id, _, ticket) = relay.open(&order()).await;
    let mut socket = relay.watch_socket(&id, &ticket, 0).await;
    // Closed more than a minute ago by a node whose notice was lost.
    let behind_its_back = async {
        tokio::time::sleep(Duration::from_secs(70)).await;
        relay.cancel_in_store(&id).await;
    };
    let ((steps, _, close), ()) = futures::future::join(rest(&mut socket), behind_its_back).await;
    assert_eq!((steps, close), (vec!["opened".to_owned()], said(4401, "unauthorized")));
}

#[tokio::test(start_paused = true)]
async fn a_watcher_of_a_relay_that_cannot_look_is_closed_with_1013_and_goes_on_later() {
    let relay = StubRelay::start().await;
    let (id, _, ticket) = relay.open(&order()).await;
    for bearer in [&ticket, &relay.key] {
        let mut socket = relay.watch_socket(&id, bearer, 0).await;
        let outage = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            relay.store.is_down.store(true, std::sync::atomic::Ordering::Relaxed);
        };
        let ((steps, _, close), ()) = futures::future::join(rest(&mut socket), outage).await;
        assert_eq!((steps, close), (vec!["opened".to_owned()], said(1013, "unavailable")));
        relay.store.is_down.store(false, std::sync::atomic::Ordering::Relaxed);
        is_free(&relay).await;
    }
    let mut again = relay.watch_socket(&id, &ticket, 1).await;
    relay.relay.ceremonies.advance(&key(&id), Event::Cancel).await.unwrap();
    let (steps, _, close) = rest(&mut again).await;
    assert_eq!((steps, close), (vec!["closed".to_owned()], said(1000, "closed")));
}
