//! An endpoint that gets another URL or other events.

use super::*;

const MOVED: &str = "https://moved.example/";

fn to_url(url: &str) -> ChangeWebhook {
    ChangeWebhook { url: Some(url.to_owned()), events: None }
}

fn to_events(events: &[WebhookEvent]) -> ChangeWebhook {
    ChangeWebhook { url: None, events: Some(events.to_vec()) }
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_to_the_new_url_at_once_and_by_one_probe() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Unreachable);
    for number in 1..=20 {
        stage.closes(number).await;
    }
    pass(HOUR * 6).await;
    let changed = stage.webhooks.change(&endpoint, to_url(MOVED), Registrar::Client).await;
    let changed = changed.unwrap();
    assert_eq!((changed.url.as_str(), &changed.keys), (MOVED, &endpoint.keys));
    pass(Duration::from_secs(1)).await;
    assert_eq!(stage.sender.at(MOVED).len(), 20);
    assert_eq!(stage.waiting(&endpoint).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_url_is_as_good_as_who_gives_it_and_the_same_one_changes_nothing() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint(GOOD).await;
    assert!(endpoint.by_operator);
    for (url, registrar, by_operator) in [
        (GOOD, Registrar::Client, true),
        (MOVED, Registrar::Client, false),
        (GOOD, Registrar::Operator, true),
    ] {
        let now = stage.webhooks.load(&TenantId::default(), CLIENT, endpoint.id).await.unwrap();
        let changed = stage.webhooks.change(&now, to_url(url), registrar).await.unwrap();
        assert_eq!((changed.url.as_str(), changed.by_operator), (url, by_operator));
    }
    for (order, refusal) in [
        (ChangeWebhook::default(), WebhookError::Unchanged),
        (to_url("nonsense"), WebhookError::Url(Unsendable::Form)),
        (to_events(&[]), WebhookError::Lists),
        (to_events(&[WebhookEvent::UserNotMe; 2]), WebhookError::Lists),
    ] {
        let refused = stage.webhooks.change(&endpoint, order, Registrar::Client).await;
        assert_eq!(refused, Err(refusal));
    }
    stage.webhooks.remove(&endpoint, None).await.unwrap();
    let refused = stage.webhooks.change(&endpoint, to_url(MOVED), Registrar::Client).await;
    assert_eq!(refused, Err(WebhookError::NotFound));
}

#[tokio::test(start_paused = true)]
async fn of_events_that_are_new_to_it_nothing_from_before_is_sent() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::DevicePaired]).await;
    let before = stage.closed(1, CLIENT);
    stage.commit(&before).await;
    pass(Duration::from_secs(1)).await;
    let events = [WebhookEvent::DevicePaired, WebhookEvent::CeremonyClosed];
    stage.webhooks.change(&endpoint, to_events(&events), Registrar::Client).await.unwrap();
    let stage = stage.restart().await;
    stage.commit(&before).await;
    settle().await;
    assert!(stage.sender.arrivals().is_empty());
    stage.closes(2).await;
    settle().await;
    assert_eq!(stage.sender.arrivals().len(), 1);
    // The same list again does not begin anew.
    let between = stage.closed(3, CLIENT);
    pass(Duration::from_secs(1)).await;
    stage.webhooks.change(&endpoint, to_events(&events), Registrar::Client).await.unwrap();
    stage.commit(&between).await;
    settle().await;
    assert_eq!(stage.sender.arrivals().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_of_events_that_were_dropped_is_still_sent() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Unreachable);
    stage.closes(1).await;
    settle().await;
    let events = [WebhookEvent::UserNotMe];
    stage.webhooks.change(&endpoint, to_events(&events), Registrar::Client).await.unwrap();
    stage.sender.answers(GOOD, Manner::Status(200));
    pass(HOUR).await;
    let last = stage.sender.arrivals().pop().unwrap();
    assert_eq!(last.body["type"], "ceremony.closed");
    assert_eq!(stage.waiting(&endpoint).await, []);
    stage.closes(2).await;
    settle().await;
    assert_eq!(stage.sender.arrivals().pop().unwrap().body["type"], "user.not_me");
}
