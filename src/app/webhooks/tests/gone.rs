//! What becomes of events while an endpoint is gone.

use super::*;

/// An endpoint that answered its first event with 410, which is a dead letter since.
async fn gone() -> (Stage, Endpoint) {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Status(410));
    stage.closes(1).await;
    settle().await;
    stage.sender.answers(GOOD, Manner::Status(200));
    let endpoint = now(&stage, &endpoint).await;
    assert_eq!(endpoint.state, WebhookState::Gone);
    (stage, endpoint)
}

async fn now(stage: &Stage, endpoint: &Endpoint) -> Endpoint {
    stage.webhooks.load(&TenantId::default(), CLIENT, endpoint.id).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn events_of_the_first_72_hours_are_dead_letters_to_be_sent_again() {
    let (stage, endpoint) = gone().await;
    pass(HOUR).await;
    let early = stage.closed(2, CLIENT);
    stage.commit(&early).await;
    pass(HOUR * 70).await;
    stage.closes(3).await;
    settle().await;
    let dead = stage.dead(&endpoint).await;
    assert_eq!(dead.len(), 3);
    assert!(dead.iter().all(|dead| dead.failure == Some(WebhookFailure::Gone)), "{dead:?}");
    assert_eq!(stage.webhooks.figures().dead, 3);
    let refused = stage.webhooks.resend(&endpoint, dead[0].id).await;
    assert_eq!(refused, Err(WebhookError::Gone), "while it is gone");

    let endpoint = stage.webhooks.enable(&endpoint).await.unwrap();
    let stage = stage.restart().await;
    pass(HOUR).await;
    assert_eq!(stage.sender.arrivals().len(), 1, "none is sent by itself");
    for dead in dead {
        stage.webhooks.resend(&endpoint, dead.id).await.unwrap();
    }
    settle().await;
    assert_eq!(stage.sender.arrivals().len(), 4, "nothing was lost");
    assert_eq!(stage.dead(&endpoint).await, []);
}

#[tokio::test(start_paused = true)]
async fn events_after_72_hours_of_being_gone_are_not_kept() {
    let (stage, endpoint) = gone().await;
    pass(HOUR * 73).await;
    let late = stage.closed(2, CLIENT);
    stage.commit(&late).await;
    pass(HOUR).await;
    assert_eq!(stage.dead(&endpoint).await.len(), 1, "the one that it answered 410");
    stage.webhooks.enable(&endpoint).await.unwrap();
    let stage = stage.restart().await;
    settle().await;
    assert_eq!(stage.sender.arrivals().len(), 1);
    pass(Duration::from_secs(1)).await;
    stage.closes(3).await;
    settle().await;
    assert_eq!(stage.sender.arrivals().len(), 2, "what happens from now on");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_gone_twice_has_its_72_hours_each_time() {
    let (stage, endpoint) = gone().await;
    pass(HOUR * 71).await;
    stage.webhooks.enable(&endpoint).await.unwrap();
    stage.sender.answers(GOOD, Manner::Status(410));
    stage.closes(2).await;
    pass(HOUR * 71).await;
    stage.closes(3).await;
    settle().await;
    assert_eq!(stage.dead(&endpoint).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_an_earlier_version_that_is_gone_keeps_nothing_and_comes_back() {
    let (stage, endpoint) = gone().await;
    let (mut earlier, revision) =
        endpoint::load(&*stage.store, &endpoint.key()).await.unwrap().unwrap();
    earlier.gone_at = None;
    stage.store.commit(endpoint::put(Batch::new(), &earlier, revision).unwrap()).await.unwrap();
    stage.closes(2).await;
    settle().await;
    assert_eq!(stage.dead(&endpoint).await.len(), 1);
    stage.webhooks.enable(&endpoint).await.unwrap();
    pass(Duration::from_secs(1)).await;
    stage.closes(3).await;
    settle().await;
    assert_eq!(stage.sender.arrivals().len(), 2);
}
