//! An endpoint that dies in the middle of a delivery, at every place where it can.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::receiver::{Dies, Received, Receiver};
use super::{close_one, register};
use crate::support::relay::TestRelay;

/// Fewer than open a lane's breaker in a row, so that nothing is left alone for a while.
const CEREMONIES: usize = 2;

#[tokio::test]
async fn an_endpoint_that_dies_in_every_delivery_is_told_each_again_with_the_same_id() {
    let receiver = Receiver::start().await;
    let relay = TestRelay::start_with(|config| receiver.allow(config)).await;
    let initiator = relay.initiator().await;
    let endpoints = Dies::UNANSWERED.len() / CEREMONIES;
    let paths: Vec<_> = (0..endpoints).map(|number| format!("/hook/{number}")).collect();
    for path in &paths {
        register(&initiator, &json!({ "url": receiver.url().replace("/hook", path) })).await;
    }
    receiver.dies(Dies::UNANSWERED);
    let mut ceremonies = BTreeSet::new();
    for _ in 0..CEREMONIES {
        ceremonies.insert(close_one(&initiator).await.to_string());
    }
    let answered = |received: &Received| received.answered;
    receiver.until_those(endpoints * CEREMONIES, answered).await;
    assert_eq!(receiver.deaths_left(), 0, "as many deliveries met a death as there are");

    // What was read whole before a death, and what was answered: one id and one body for each end.
    let mut told: BTreeMap<(String, String), BTreeSet<(String, String)>> = BTreeMap::new();
    for received in receiver.received() {
        let ceremony = received.json()["data"]["id"].as_str().unwrap().to_owned();
        let said = (received.header("webhook-id").to_owned(), received.body.clone());
        told.entry((received.path, ceremony)).or_default().insert(said);
    }
    let expected = paths.iter().flat_map(|path| ceremonies.iter().map(|id| (path.clone(), id)));
    let expected: BTreeSet<_> = expected.map(|(path, id)| (path, id.clone())).collect();
    assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), expected, "none is lost");
    for (end, said) in &told {
        assert_eq!(said.len(), 1, "{end:?} was told as one: {said:?}");
    }

    // A status line is an answer, whatever becomes of the rest of the response.
    receiver.dies(paths.iter().map(|_| Dies::InTheBody));
    close_one(&initiator).await;
    let all = u64::try_from(endpoints * (CEREMONIES + 1)).unwrap();
    while relay.running.app().webhooks.as_ref().unwrap().figures().delivered < all {
        tokio::task::yield_now().await;
    }
    let answers = receiver.received().iter().filter(|received| answered(received)).count();
    assert_eq!(answers, endpoints * (CEREMONIES + 1), "and none is told once more");
    assert_eq!(relay.running.app().webhooks.as_ref().unwrap().figures().dead, 0);
}
