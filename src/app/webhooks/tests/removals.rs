//! What is left of an endpoint that was removed: nothing.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_removed_endpoint_is_sent_nothing_and_leaves_nothing() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.closes(1).await;
    settle().await;
    stage.dies(2, &endpoint).await;
    stage.sender.answers(GOOD, Manner::Unreachable);
    for number in 3..=8 {
        stage.closes(number).await;
    }
    settle().await;
    assert!(stage.records().await >= 8, "dead and waiting");
    stage.webhooks.remove(&endpoint, None).await.unwrap();
    assert_eq!(stage.records().await, 0);
    settle().await;
    assert_eq!(stage.webhooks.figures().waiting, 0);
    let gone = stage.webhooks.remove(&endpoint, None).await;
    assert_eq!(gone, Err(WebhookError::NotFound));
    let before = stage.sender.arrivals().len();
    stage.closes(9).await;
    pass(HOUR * 9).await;
    assert_eq!(stage.sender.arrivals().len(), before);
    let stage = stage.restart().await;
    settle().await;
    assert_eq!(stage.records().await, 0);
    let figures = stage.webhooks.figures();
    assert_eq!((figures.waiting, figures.open_circuits), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_under_way_leaves_nothing_when_its_endpoint_is_removed() {
    let pause = Duration::from_secs(5);
    for manner in [Manner::Slow(pause), Manner::Dragging(pause)] {
        let stage = Stage::start().await;
        let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
        stage.sender.answers(GOOD, manner);
        for number in 1..=8 {
            stage.closes(number).await;
        }
        settle().await;
        assert_eq!(stage.sender.arrivals().len(), endpoint_queue::IN_FLIGHT);
        stage.webhooks.remove(&endpoint, None).await.unwrap();
        pass(HOUR).await;
        assert_eq!(stage.sender.arrivals().len(), endpoint_queue::IN_FLIGHT, "{manner:?}");
        assert_eq!(stage.records().await, 0, "{manner:?}");
        let figures = stage.webhooks.figures();
        assert_eq!((figures.waiting, figures.open_circuits), (0, 0), "{manner:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_start_ends_a_removal_that_was_broken_off() {
    let stage = Stage::start().await;
    let events = [WebhookEvent::CeremonyClosed];
    let removed = stage.endpoint_of(CLIENT, GOOD, &events).await;
    let other = stage.endpoint_of(OTHER, "https://other.example/", &events).await;
    stage.closes(1).await;
    settle().await;
    stage.dies(2, &removed).await;
    stage.dies(3, &other).await;
    // The process dies between the endpoint and what is kept for it.
    let whose = (&TenantId::default(), CLIENT);
    let (batch, _) = stage.webhooks.removal(Batch::new(), whose, None).await.unwrap();
    stage.store.commit(batch).await.unwrap();
    let stage = stage.restart().await;
    settle().await;
    assert_eq!(stage.records().await, 2, "the other endpoint and its dead letter");
    assert_eq!(stage.dead(&other).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_removed_client_leaves_no_record_of_any_endpoint() {
    let stage = Stage::start().await;
    let events = [WebhookEvent::CeremonyClosed];
    for url in [GOOD, "https://second.example/"] {
        stage.endpoint_of(CLIENT, url, &events).await;
    }
    let other = stage.endpoint_of(OTHER, "https://other.example/", &events).await;
    stage.closes(1).await;
    settle().await;
    let whose = (&TenantId::default(), CLIENT);
    let (batch, keys) = stage.webhooks.removal(Batch::new(), whose, None).await.unwrap();
    stage.store.commit(batch).await.unwrap();
    stage.webhooks.forget(&keys).await.unwrap();
    assert_eq!(stage.records().await, 1);
    assert_eq!(stage.webhooks.list_all(&TenantId::default()).await.unwrap(), [other]);
}
