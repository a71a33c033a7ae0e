//! A dead letter sent again, also by calls that are repeated.

use super::*;

async fn with_a_dead_letter(store: Arc<dyn Store>) -> (Stage, Endpoint, EventId) {
    let clock = Arc::new(TokioClock(Instant::now()));
    let stage = Stage::start_on(store, Scripted::new(), clock).await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    let event = stage.dies(1, &endpoint).await;
    (stage, endpoint, event)
}

#[tokio::test(start_paused = true)]
async fn a_repeated_resend_sends_once() {
    let (stage, endpoint, event) = with_a_dead_letter(Arc::new(MemoryStore::new())).await;
    stage.sender.answers(GOOD, Manner::Slow(Duration::from_secs(5)));
    let calls = (0..8).map(|_| stage.webhooks.resend(&endpoint, event));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    pass(Duration::from_secs(1)).await;
    assert_eq!(stage.webhooks.resend(&endpoint, event).await, Ok(()), "while it is under way");
    pass(Duration::from_secs(60)).await;
    let arrived = stage.webhooks.resend(&endpoint, event).await;
    assert_eq!(arrived, Err(WebhookError::NotFound), "what has arrived is kept no longer");
    pass(HOUR).await;
    assert_eq!(stage.sender.arrivals().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resend_of_what_waits_leaves_its_times_alone() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Unreachable);
    stage.closes(1).await;
    pass(HOUR * 71).await;
    let [waiting] = &stage.waiting(&endpoint).await[..] else { panic!("one waits") };
    let tries = stage.sender.arrivals().len();
    stage.webhooks.resend(&endpoint, waiting.id).await.unwrap();
    settle().await;
    assert_eq!(stage.sender.arrivals().len(), tries);
    pass(HOUR * 2).await;
    assert_eq!(stage.dead(&endpoint).await.len(), 1, "it has its 72 hours and no more");
}
