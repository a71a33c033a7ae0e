//! Watchers that wait for one ceremony share what woke them: what a change costs the store does not
//! depend on how many wait for it.

use fido_relay::app::ceremonies::CeremonyKey;
use fido_relay::core::ceremony::Event;
use fido_relay_proto::device::AckOf;
use fido_relay_proto::{DeviceId, TenantId};
use futures::future::{join, join_all};
use serde_json::json;

use super::Bench;
use super::Server::BuiltIn;
use super::counting::{Count, Counts};

/// Long polls of the initiator, of pages, and streams of pages: so many each.
const MANY: usize = 12;

/// What three changes cost the store with so many watchers of each kind, each of which sees them.
async fn changes(bench: &Bench, watchers: usize) -> Counts {
    let order = json!({
        "type": "authentication", "username": "ada", "prior_auth": "session", "show_delivery": true,
    });
    let opened = bench.bank.open(&order).await;
    let (id, seq) = (opened.id, bench.bank.read(opened.id).await.seq);
    let url = format!("{}/v1/ceremonies/{id}", bench.bank.url);
    let watch = |road: String, bearer: &str| {
        let request = bench.bank.http.get(format!("{url}{road}since={seq}")).bearer_auth(bearer);
        async move {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.text().await.unwrap()
        }
    };
    let polls = (0..watchers).flat_map(|_| {
        [&bench.bank.key, &opened.ticket].map(|bearer| watch("?wait=55&".to_owned(), bearer))
    });
    let streams = (0..watchers).map(|_| watch("/events?".to_owned(), &opened.ticket));
    let (polls, streams) = (join_all(polls), join_all(streams));

    let key = CeremonyKey { tenant: TenantId::default(), id };
    let device = DeviceId::from_bytes([9; 16]);
    let looked = bench.counters.now().get(Count::CeremonyLoads) + 3 * watchers;
    let change = async {
        bench.counters.until(Count::CeremonyLoads, looked).await;
        let before = bench.counters.now();
        for event in
            [Event::Sent { device }, Event::Acked { device, of: AckOf::Offer }, Event::Cancel]
        {
            bench.relay.running.relay().ceremonies.advance(&key, event).await.unwrap();
        }
        before
    };
    let ((polled, streamed), before) = join(join(polls, streams), change).await;
    assert!(polled.iter().all(|answer| answer.contains("\"sent\"")), "{polled:?}");
    for stream in streamed {
        for event in ["sent", "delivered", "closed"] {
            assert!(stream.contains(&format!("\"step\":\"{event}\"")), "{event} in {stream}");
        }
    }
    bench.counters.now().since(&before)
}

#[tokio::test]
async fn a_change_that_wakes_many_watchers_is_read_as_often_as_for_one() {
    let bench = Bench::start(BuiltIn, false, false).await;
    let (few, many) = (changes(&bench, 1).await, changes(&bench, MANY).await);
    println!("one of each kind: {few:?}, {MANY} of each kind: {many:?}");
    // What the relay itself does beside them may fall before the last answer or after it.
    for count in [Count::CeremonyLoads, Count::Loads] {
        assert!(many.get(count) < few.get(count) + MANY / 2, "{count:?}: {few:?}, then {many:?}");
    }
}
