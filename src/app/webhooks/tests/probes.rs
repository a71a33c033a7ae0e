//! After five failures in a row nothing but a single probe is under way, whatever else happens.

use super::*;
use endpoint_queue::{AttemptResult, EndpointQueue, Turn};

const END: UnixMillis = UnixMillis(100_000_000);

fn id(number: u8) -> EventId {
    EventId::from_bytes([number; 16])
}

fn sent(lane: &mut EndpointQueue, now: UnixMillis) -> Option<EventId> {
    match lane.next(now)? {
        Turn::Send(id) => Some(id),
        Turn::GiveUp(id) => panic!("{id} was given up"),
    }
}

/// A lane whose breaker has just opened, and what is still on its way.
fn opened() -> (EndpointQueue, Vec<EventId>) {
    let (mut lane, now) = (EndpointQueue::default(), UnixMillis(0));
    for number in 0..20 {
        lane.insert(id(number), now, END);
    }
    let mut flying: Vec<_> = std::iter::from_fn(|| sent(&mut lane, now)).collect();
    for _ in 0..5 {
        let failed = flying.remove(0);
        lane.landed(failed, AttemptResult::Failed { due: now, until: END, hold: None }, now, |_| 0);
        flying.extend(sent(&mut lane, now));
    }
    assert_eq!(flying.len(), endpoint_queue::IN_FLIGHT - 1);
    (lane, flying)
}

#[test]
fn a_probe_waits_for_what_is_still_on_its_way() {
    let (mut lane, flying) = opened();
    let late = UnixMillis(1_000_000);
    for id in flying {
        assert_eq!(sent(&mut lane, late), None);
        assert!(lane.wakes_at().is_none_or(|at| at > late), "it does not wake for nothing");
        lane.landed(id, AttemptResult::Failed { due: late, until: END, hold: None }, late, |_| 0);
    }
    let probe = sent(&mut lane, late).expect("a probe");
    assert_eq!(sent(&mut lane, late), None);
    lane.landed(probe, AttemptResult::Arrived, late, |_| 0);
    let all: Vec<_> = std::iter::from_fn(|| sent(&mut lane, late)).collect();
    assert_eq!(all.len(), endpoint_queue::IN_FLIGHT, "once it arrived, what waits follows at once");
}

#[test]
fn giving_up_what_is_at_its_end_starts_no_second_probe() {
    let (mut lane, flying) = opened();
    let late = UnixMillis(1_000_000);
    for id in flying {
        lane.landed(id, AttemptResult::Failed { due: late, until: END, hold: None }, late, |_| 0);
    }
    lane.insert(id(100), late, UnixMillis(late.0 + 1));
    let probe = sent(&mut lane, late).expect("a probe");
    let after = UnixMillis(late.0 + 1);
    let Some(Turn::GiveUp(over)) = lane.next(after) else { panic!("one is at its end") };
    lane.landed(over, AttemptResult::Nothing, after, |_| 0);
    // Nor does one that found no place in the lane.
    lane.landed(id(200), AttemptResult::Nothing, after, |_| 0);
    assert_eq!(sent(&mut lane, after), None, "the probe is still on its way");
    lane.landed(probe, AttemptResult::Arrived, after, |_| 0);
    assert!(sent(&mut lane, after).is_some());
}

#[test]
fn enabling_what_is_not_gone_opens_no_breaker() {
    let (mut lane, flying) = opened();
    lane.reopen(UnixMillis(1));
    assert_eq!(sent(&mut lane, UnixMillis(1)), None);
    for id in flying {
        lane.landed(
            id,
            AttemptResult::Failed { due: END, until: END, hold: None },
            UnixMillis(1),
            |_| 0,
        );
    }
    assert!(sent(&mut lane, UnixMillis(1)).is_some(), "a probe at once");
    lane.reopen(UnixMillis(2));
    assert_eq!(sent(&mut lane, UnixMillis(2)), None, "and no second one");
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_through_new_events_resends_enables_and_restarts() {
    let mut stage = Stage::start().await;
    let urls = ["https://a.example/", "https://b.example/", "https://c.example/"];
    let mut endpoints = Vec::new();
    for url in urls {
        stage.sender.answers(url, Manner::Dragging(Duration::from_secs(9)));
        endpoints.push(stage.endpoint_of(CLIENT, url, &[WebhookEvent::CeremonyClosed]).await);
    }
    for number in 1..=20 {
        stage.closes(number).await;
    }
    pass(Duration::from_secs(60)).await;
    assert_eq!(stage.webhooks.figures().open_circuits, 3);
    stage.sender.forget_most();
    for round in 0..40_u8 {
        let before = stage.sender.arrivals().len();
        for endpoint in &endpoints {
            let dead = stage.dies(100 + round, endpoint).await;
            stage.webhooks.resend(endpoint, dead).await.unwrap();
        }
        stage.closes(50 + round).await;
        match round % 4 {
            0 => {
                for endpoint in &endpoints {
                    stage.webhooks.enable(endpoint).await.unwrap();
                }
            }
            1 => stage = stage.restart().await,
            _ => {}
        }
        pass(Duration::from_secs(5)).await;
        // Another enable while the probe of the first is under way.
        stage.webhooks.enable(&endpoints[0]).await.unwrap();
        pass(Duration::from_secs(11 * 60)).await;
        assert!(stage.sender.arrivals().len() > before, "they are still probed");
    }
    for host in ["a.example", "b.example", "c.example"] {
        assert_eq!(stage.sender.most_at_once(host), 1, "{host}");
    }
    let waiting = stage.webhooks.figures().waiting;
    assert_eq!(waiting, 3 * (20 + 40 + 40));
    for url in urls {
        stage.sender.answers(url, Manner::Status(200));
    }
    pass(HOUR / 4).await;
    assert_eq!(stage.webhooks.figures().waiting, 0, "and all follows once one arrived");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_asks_for_silence_gets_it_over_a_restart() {
    let stage = Stage::start().await;
    stage.endpoint_of(CLIENT, GOOD, &[WebhookEvent::CeremonyClosed]).await;
    stage.sender.answers(GOOD, Manner::Busy { retry_after: RetryAfter::Seconds(600) });
    stage.closes(1).await;
    pass(Duration::from_secs(1)).await;
    stage.sender.answers(GOOD, Manner::Status(200));
    let stage = stage.restart().await;
    stage.closes(2).await;
    pass(Duration::from_secs(590)).await;
    assert_eq!(stage.sender.arrivals().len(), 1);
    pass(Duration::from_secs(10)).await;
    assert_eq!(stage.sender.arrivals().len(), 3);
}
