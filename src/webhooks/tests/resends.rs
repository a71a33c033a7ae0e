//! A dead letter sent again, by calls of unknown fate and by calls that are repeated.

use super::*;

async fn with_a_dead_letter(store: Arc<dyn Store>) -> (Stage, Endpoint, EventId) {
    let clock = Arc::new(TokioClock(Instant::now()));
    let stage = Stage::start_on(store, Scripted::new(), clock);
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    let event = stage.dies(1, &endpoint).await;
    (stage, endpoint, event)
}

#[tokio::test(start_paused = true)]
async fn a_resend_whose_answer_was_lost_is_sent_once() {
    let store = Arc::new(Doubtful::default());
    let (stage, endpoint, event) = with_a_dead_letter(Arc::clone(&store) as Arc<dyn Store>).await;
    store.lies.store(true, std::sync::atomic::Ordering::Relaxed);
    let unknown = stage.webhooks.resend(&endpoint, event).await;
    assert!(matches!(unknown, Err(WebhookError::Store(_))), "{unknown:?}");
    settle().await;
    assert_eq!(stage.sender.arrivals().len(), 1, "it was written, so it is sent");
    assert_eq!(stage.webhooks.resend(&endpoint, event).await, Ok(()), "the repeated call");
    pass(HOUR).await;
    assert_eq!(stage.sender.arrivals().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_resend_gets_the_same_answer_and_sends_once() {
    let (stage, endpoint, event) = with_a_dead_letter(Arc::new(MemoryStore::new())).await;
    stage.sender.answers(GOOD, Manner::Slow(Duration::from_secs(5)));
    let calls = (0..8).map(|_| stage.webhooks.resend(&endpoint, event));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    pass(Duration::from_secs(1)).await;
    assert_eq!(stage.webhooks.resend(&endpoint, event).await, Ok(()), "while it is under way");
    pass(Duration::from_secs(60)).await;
    assert_eq!(stage.webhooks.resend(&endpoint, event).await, Ok(()), "after it arrived");
    pass(HOUR * 70).await;
    assert_eq!(stage.webhooks.resend(&endpoint, event).await, Ok(()), "days later");
    assert_eq!(stage.sender.arrivals().len(), 1);
    let never = stage.webhooks.resend(&endpoint, EventId::from_bytes([9; 16])).await;
    assert_eq!(never, Err(WebhookError::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_resend_of_what_waits_leaves_its_times_alone() {
    let stage = Stage::start();
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
