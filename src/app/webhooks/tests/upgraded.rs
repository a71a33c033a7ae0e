//! The first start after a version without a journal: what that version did not tell is told once.

use super::*;

/// Stores an end as that version did, without an entry; gives the key of its delivery.
async fn ended(stage: &Stage, number: u8, endpoint: &Endpoint) -> String {
    let ceremony = stage.closed(number, CLIENT);
    let key = format!("default.{}", ceremony.request.id);
    records::save(&*stage.store, Bucket::Ceremonies, &key, Revision::ABSENT, &ceremony)
        .await
        .unwrap();
    endpoint.key().delivery(event::of_ceremony(&ceremony)[0].told.id)
}

#[tokio::test(start_paused = true)]
async fn ends_that_were_neither_delivered_nor_wait_are_told_once() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    ended(&stage, 1, &endpoint).await;
    pass(HOUR * 73).await;
    ended(&stage, 2, &endpoint).await;
    let delivered = ended(&stage, 3, &endpoint).await;
    let until = serde_json::json!({ "until": stage.clock.now().plus_secs(3600) }).to_string();
    let until = until.into_bytes();
    stage.store.save(Bucket::Delivered, &delivered, Revision::ABSENT, until).await.unwrap();
    // As that version left it.
    assert!(stage.tasks.stop(Duration::from_secs(20)).await);
    for (key, stored) in stage.store.list(Bucket::Cursors, "").await.unwrap() {
        stage.store.remove(Bucket::Cursors, &key, stored.revision).await.unwrap();
    }
    let Stage { store, sender, clock, .. } = stage;
    let stage = Stage::start_on(store, sender, clock).await;
    settle().await;
    let told = |stage: &Stage| {
        let arrivals = stage.sender.arrivals();
        arrivals.iter().map(|arrival| arrival.body["data"]["id"].clone()).collect::<Vec<_>>()
    };
    let second = serde_json::json!(CeremonyId::from_bytes([2; 16]));
    assert_eq!(
        told(&stage),
        std::slice::from_ref(&second),
        "not the one of 73 hours ago, nor the delivered one"
    );
    let stage = stage.restart().await;
    pass(HOUR).await;
    assert_eq!(told(&stage), [second]);
}
