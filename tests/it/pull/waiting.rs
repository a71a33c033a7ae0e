//! Long polls: what wakes them, what ends them, and that nothing else is held up by them.

use std::time::Duration;

use fido_relay_proto::RelayFrame;
use reqwest::Method;
use tokio::time::Instant;

use super::{opens, phone, relay};
use crate::support::pull_phone::{LOOK, PullPhone};
use crate::support::relay::TestRelay;

/// Far less than any wait here, and far more than news takes on a busy machine.
const SOON: Duration = Duration::from_secs(15);

/// Until a device waits: then what follows comes after it.
async fn somebody_waits(relay: &TestRelay) {
    while relay.running.relay().occupancy().pulling == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits from the present state, while something happens; gives what it then heard.
async fn wakes(
    relay: &TestRelay,
    phone: &PullPhone,
    shown: &str,
    happens: impl Future<Output = ()>,
) -> Vec<RelayFrame> {
    let state = phone.pull(&format!("shown={shown}")).await.state;
    let query = format!("wait=55&since={state}&shown={shown}");
    let begun = Instant::now();
    let (pulled, ()) = tokio::join!(phone.pull(&query), async {
        somebody_waits(relay).await;
        happens.await;
    });
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_ne!(pulled.state, state);
    pulled.frames
}

#[tokio::test]
async fn an_offer_a_cancellation_and_a_notice_wake_it_at_once() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let phone = phone(&relay, &initiator, "ada").await;
    let mut id = None;
    let open = async { id = Some(opens(&initiator, "registration").await.id) };
    let frames = wakes(&relay, &phone, "", open).await;
    assert!(matches!(&frames[..], [RelayFrame::Offer(_)]), "{frames:?}");
    let id = id.unwrap();
    let cancel = async {
        initiator.delete(&format!("/v1/ceremonies/{id}")).await;
    };
    let frames = wakes(&relay, &phone, &id.to_string(), cancel).await;
    assert!(matches!(&frames[..], [RelayFrame::Closed { .. }]), "{frames:?}");
    let pair = async {
        relay.pair(&initiator, "ada").await;
    };
    let frames = wakes(&relay, &phone, "", pair).await;
    assert!(matches!(&frames[..], [RelayFrame::Notice(_)]), "{frames:?}");
}

#[tokio::test]
async fn a_newer_request_of_the_device_ends_the_older() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let phone = phone(&relay, &initiator, "ada").await;
    let state = phone.pull("").await.state;
    let begun = Instant::now();
    let query = format!("wait=55&since={state}");
    let (older, newer) = tokio::join!(phone.pull(&query), async {
        somebody_waits(&relay).await;
        phone.pull("").await
    });
    assert!(begun.elapsed() < SOON);
    assert_eq!((older.state, newer.state), (state.clone(), state));
}

#[tokio::test]
async fn without_news_it_says_after_its_time_what_stands() {
    let relay = relay().await;
    let phone = phone(&relay, &relay.initiator().await, "ada").await;
    let state = phone.pull("").await.state;
    let begun = Instant::now();
    let pulled = phone.pull(&format!("wait=1&since={state}")).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert!(pulled.frames.is_empty());
    assert_eq!(pulled.state, state);
}

#[tokio::test]
async fn a_revocation_ends_the_wait_with_the_401_of_every_bad_proof() {
    let relay = relay().await;
    let initiator = relay.initiator().await;
    let phone = phone(&relay, &initiator, "ada").await;
    let state = phone.pull("").await.state;
    let begun = Instant::now();
    let path = format!("{LOOK}?wait=55&since={state}");
    let (answer, ()) = tokio::join!(phone.send(&Method::GET, &path, ""), async {
        somebody_waits(&relay).await;
        let path = format!("/v1/devices/{}", phone.paired.device_id);
        assert_eq!(initiator.delete(&path).await.status(), 204);
    });
    assert_eq!(answer.status(), 401);
    assert!(begun.elapsed() < SOON);
}

#[tokio::test]
async fn a_node_that_goes_away_answers_who_waits() {
    let relay = relay().await;
    let phone = phone(&relay, &relay.initiator().await, "ada").await;
    let state = phone.pull("").await.state;
    let path = format!("{LOOK}?wait=55&since={state}");
    let begun = Instant::now();
    let (answer, ()) = tokio::join!(phone.send(&Method::GET, &path, ""), async {
        somebody_waits(&relay).await;
        relay.running.tasks().draining().cancel();
    });
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("retry-after"), "it is not to ask in a row");
    assert!(begun.elapsed() < SOON);
}
