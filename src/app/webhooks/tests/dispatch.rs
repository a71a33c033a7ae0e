//! When what is sent: retries, dead letters, the breaker, and endpoints that do not wait for one
//! another.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_was_down_for_hours_gets_everything_when_it_returns() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Unreachable);
    for number in 1..=20 {
        stage.closes(number).await;
        pass(Duration::from_secs(60)).await;
    }
    pass(HOUR * 6).await;
    assert_eq!(stage.waiting(&endpoint).await.len(), 20);
    assert_eq!(stage.webhooks.figures().open_circuits, 1);
    let tries = stage.sender.arrivals().len();
    assert!(tries < 120, "the breaker spares an endpoint that is down: {tries} tries");
    stage.sender.answers(GOOD, Manner::Status(200));
    pass(HOUR / 4).await;
    assert_eq!(stage.waiting(&endpoint).await, [], "all of them, soon after one got through");
    let ids: std::collections::HashSet<_> =
        stage.sender.arrivals().into_iter().map(|arrival| arrival.id).collect();
    assert_eq!(ids.len(), 20);
    let figures = stage.webhooks.figures();
    assert_eq!((figures.delivered, figures.open_circuits, figures.waiting), (20, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_never_arrives_is_tried_for_72_hours_and_then_a_dead_letter() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Status(500));
    stage.closes(1).await;
    pass(HOUR * 71).await;
    assert_eq!(stage.dead(&endpoint).await, []);
    let before = stage.sender.arrivals().len();
    assert!((12..60).contains(&before), "{before} tries");
    pass(HOUR * 2).await;
    let dead = stage.dead(&endpoint).await;
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].failure, dead[0].status), (Some(WebhookFailure::Status), Some(500)));
    assert_eq!(dead[0].event, WebhookEvent::CeremonyClosed);
    let tries = stage.sender.arrivals();
    pass(HOUR * 100).await;
    assert_eq!(stage.sender.arrivals().len(), tries.len(), "and never again by itself");

    // It is kept over a restart, can be sent again, and is then done with.
    let stage = stage.restart().await;
    stage.sender.answers(GOOD, Manner::Status(200));
    stage.webhooks.resend(&endpoint, dead[0].id).await.unwrap();
    settle().await;
    let arrivals = stage.sender.arrivals();
    assert_eq!(arrivals.len(), tries.len() + 1);
    assert_eq!(arrivals.last().unwrap().id, tries[0].id, "with the same webhook-id");
    let again = stage.webhooks.resend(&endpoint, dead[0].id).await;
    assert_eq!(again, Err(WebhookError::NotFound), "it has arrived");
    settle().await;
    assert_eq!(stage.sender.arrivals().len(), tries.len() + 1, "and not once more");
}

#[tokio::test(start_paused = true)]
async fn the_first_retries_come_within_the_times_of_the_table() {
    let stage = Stage::start().await;
    stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Status(302));
    stage.closes(1).await;
    pass(HOUR).await;
    let times: Vec<_> = stage.sender.arrivals().iter().map(|arrival| arrival.after).collect();
    let pauses: Vec<_> = times.windows(2).map(|two| two[1] - two[0]).collect();
    for (pause, longest_s) in pauses.iter().zip([5, 30, 120, 600]) {
        assert!(*pause <= Duration::from_secs(longest_s) + Duration::from_millis(50), "{pauses:?}");
    }
    assert!(pauses.len() >= 4, "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_says_410_is_sent_nothing_more_until_it_is_enabled() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Unreachable);
    stage.closes(1).await;
    stage.closes(2).await;
    settle().await;
    stage.sender.answers(GOOD, Manner::Status(410));
    pass(HOUR).await;
    let tenant = TenantId::default();
    let now = stage.webhooks.load(&tenant, CLIENT, endpoint.id).await.unwrap();
    assert_eq!(now.state, WebhookState::Gone);
    let gone = stage.sender.arrivals().iter().filter(|a| a.after > HOUR * 2).count();
    let dead = stage.dead(&endpoint).await;
    assert_eq!((gone, dead.len()), (0, 2), "what waited is a dead letter");
    assert!(dead.iter().all(|dead| dead.failure == Some(WebhookFailure::Gone)), "{dead:?}");
    let before = stage.sender.arrivals().len();
    stage.closes(3).await;
    pass(HOUR * 80).await;
    assert_eq!(stage.sender.arrivals().len(), before, "nothing, not even what is new");

    stage.sender.answers(GOOD, Manner::Status(200));
    stage.webhooks.enable(&endpoint).await.unwrap();
    stage.closes(4).await;
    for dead in dead {
        stage.webhooks.resend(&endpoint, dead.id).await.unwrap();
    }
    settle().await;
    assert_eq!(stage.sender.arrivals().len(), before + 3);
    assert_eq!(stage.dead(&endpoint).await.len(), 1, "what happened while it was gone");
}

#[tokio::test(start_paused = true)]
async fn what_was_to_be_given_up_when_the_endpoint_was_enabled_again_is_sent() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Unreachable);
    stage.closes(1).await;
    settle().await;
    let [waiting] = &stage.waiting(&endpoint).await[..] else { panic!("one waits") };
    // A turn that had seen the endpoint gone lands only now, when it is enabled.
    let now = UnixMillis(0);
    let mut lane = endpoint_queue::EndpointQueue::default();
    lane.insert(waiting.id, now, UnixMillis(1));
    lane.landed(EventId::from_bytes([9; 16]), endpoint_queue::AttemptResult::Closed, now, |_| 0);
    let turn = lane.next(now).unwrap();
    assert_eq!(turn, endpoint_queue::Turn::GiveUp(waiting.id));
    let ground = Arc::clone(&stage.webhooks.ground);
    let landed = attempt::take(ground, endpoint.key(), turn).await;
    lane.landed(waiting.id, landed, now, |_| 0);
    let due = stage.clock.now();
    assert_eq!(lane.next(due), Some(endpoint_queue::Turn::Send(waiting.id)));
    assert_eq!(stage.dead(&endpoint).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_delays_no_other() {
    let stage = Stage::start().await;
    let slow = "https://slow.example/";
    let events = [WebhookEvent::CeremonyClosed];
    stage.endpoint_of(CLIENT, slow, &events).await;
    stage.endpoint_of(CLIENT, GOOD, &events).await;
    stage.sender.answers(slow, Manner::Slow(Duration::from_secs(10)));
    for number in 1..=100 {
        stage.closes(number).await;
    }
    pass(Duration::from_secs(1)).await;
    assert_eq!(stage.sender.at(GOOD).len(), 100, "all within a second");
    assert_eq!(stage.sender.at(slow).len(), endpoint_queue::IN_FLIGHT);
    pass(Duration::from_secs(300)).await;
    assert_eq!(stage.sender.at(slow).len(), 100);
    assert_eq!(stage.sender.most_at_once("slow.example"), endpoint_queue::IN_FLIGHT);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_asks_for_silence_gets_it() {
    // Of the stage's clock: see `TokioClock`.
    let in_600_s = RetryAfter::At(UnixMillis(1_800_000_600_000));
    for retry_after in [RetryAfter::Seconds(600), in_600_s] {
        asks_for_silence(retry_after).await;
    }
}

async fn asks_for_silence(retry_after: RetryAfter) {
    let stage = Stage::start().await;
    stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Busy { retry_after });
    stage.closes(1).await;
    pass(Duration::from_secs(1)).await;
    stage.sender.answers(GOOD, Manner::Status(200));
    stage.closes(2).await;
    pass(Duration::from_secs(590)).await;
    assert_eq!(stage.sender.arrivals().len(), 1, "new events wait as well");
    pass(Duration::from_secs(10)).await;
    assert_eq!(stage.sender.arrivals().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_opens_after_failures_in_a_row_and_probes_with_one_delivery() {
    let stage = Stage::start().await;
    stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Unreachable);
    for number in 1..=100 {
        stage.closes(number).await;
    }
    pass(Duration::from_secs(10)).await;
    let first = stage.sender.arrivals().len();
    assert!((5..=5 + endpoint_queue::IN_FLIGHT).contains(&first), "{first}");
    for _ in 0..20 {
        let before = stage.sender.arrivals().len();
        pass(Duration::from_secs(14)).await;
        assert!(stage.sender.arrivals().len() <= before + 1, "one probe at a time");
    }
}

#[tokio::test(start_paused = true)]
async fn when_a_breaker_is_open_to_the_end_what_waits_becomes_dead_letters() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Unreachable);
    for number in 1..=50 {
        stage.closes(number).await;
    }
    pass(HOUR * 72 + HOUR / 2).await;
    assert_eq!(stage.dead(&endpoint).await.len(), 50);
    assert_eq!(stage.waiting(&endpoint).await, []);
    assert_eq!(stage.webhooks.figures().dead, 50);
}

#[tokio::test(start_paused = true)]
async fn a_listing_goes_through_all_pages() {
    let stage = Stage::start().await;
    let endpoint = stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.endpoint_of(OTHER, "https://other.example/", &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Unreachable);
    for number in 0..=250 {
        stage.closes(number).await;
    }
    settle().await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = stage.webhooks.undelivered(&endpoint, None, after).await.unwrap();
        assert!(page.len() <= LISTED);
        seen.extend(page.into_iter().map(|delivery| delivery.id));
        after = next;
        if after.is_none() {
            break;
        }
    }
    let all: std::collections::BTreeSet<_> = seen.iter().map(ToString::to_string).collect();
    assert_eq!((seen.len(), all.len()), (251, 251));
}

#[tokio::test(start_paused = true)]
async fn the_figures_tell_of_the_delivery_that_waits_longest_whichever_endpoint_wakes_first() {
    let stage = Stage::start().await;
    let held = "https://held.example/";
    stage.endpoint_of(CLIENT, held, &[WebhookEvent::CeremonyClosed]).await;
    // It asks for an hour of silence: what comes meanwhile is due, and waits.
    stage.sender.answers(held, Manner::Busy { retry_after: RetryAfter::Seconds(3600) });
    stage.closes(1).await;
    pass(Duration::from_secs(1)).await;
    stage.closes(2).await;
    let waits_since = stage.clock.now().0;
    // Another endpoint fails meanwhile, and its lane wakes long before the first one's.
    stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Status(500));
    pass(Duration::from_secs(60)).await;
    stage.closes(3).await;
    pass(Duration::from_secs(1)).await;
    let oldest = stage.webhooks.figures().oldest_due;
    assert!((waits_since - 1_000..=waits_since).contains(&oldest), "{oldest} {waits_since}");
    stage.sender.answers(held, Manner::Status(200));
    stage.sender.answers(GOOD, Manner::Status(200));
    pass(HOUR * 2).await;
    let figures = stage.webhooks.figures();
    assert_eq!((figures.waiting, figures.oldest_due), (0, 0), "{figures:?}");
}
