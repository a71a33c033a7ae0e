//! Watching by every road: the same events on all of them, none lost and none twice wherever one
//! breaks off, and nothing for those who may not see it.

mod cuts;
mod event_tickets;
mod guests;
mod patience;
mod presence;
mod restarts;
pub(crate) mod roads;
mod socket_ends;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use fido_relay::core::ceremony::Event;
use fido_relay_proto::device::{AckOf, CardEvent};
use fido_relay_proto::http::Status;
use fido_relay_proto::{Binding, Outcome, Reason, Step};
use futures::future::join_all;
use serde_json::json;

use roads::{Ended, Road, Told, Watching, last, told};
use stage::{DEVICE, Plot, Stage};

use crate::webhooks::receiver::{Received, Receiver};
use crate::webhooks::register;

const LONG: u64 = 120_000;

#[tokio::test]
async fn every_road_tells_the_same_of_every_outcome() {
    let receiver = Receiver::start().await;
    let stage = Stage::set_with(|config| receiver.allow(config)).await;
    register(&stage.initiator, &json!({ "url": receiver.url() })).await;
    let mut outcomes = BTreeSet::new();
    for plot in Plot::ALL {
        let life = if plot == Plot::Expires { 1_000 } else { LONG };
        let opened = stage.open(Binding::Code, life).await;
        let bearers = [&stage.initiator.key, &opened.ticket];
        let everybody = bearers.iter().flat_map(|bearer| Road::ALL.map(|road| (*bearer, road)));
        let mut watching = Vec::new();
        for (bearer, road) in everybody {
            watching.push(Watching::after(0, road, &stage.initiator, opened.id, bearer).await);
        }
        let all = join_all(watching.iter_mut().map(Watching::rest));
        let (all, ()) = futures::future::join(all, stage.play(&opened, plot)).await;
        let of_all: Vec<Vec<Told>> = all.iter().map(|one| one.iter().map(told).collect()).collect();
        let (of_key, of_ticket) = of_all.split_at(3);
        for (road, of_road) in Road::ALL.iter().zip(of_key) {
            assert_eq!(*of_road, of_key[0], "{plot:?} on {road:?}");
        }
        for (road, of_road) in Road::ALL.iter().zip(of_ticket) {
            assert_eq!(*of_road, of_ticket[0], "{plot:?} on {road:?} with the ticket");
        }
        assert_eq!(all[1], all[2], "{plot:?}: streams and sockets tell it word for word");
        // A poll tells one phase at a time: it is that of the last step in its answer.
        let phases: BTreeMap<_, _> = watching[1].phases().iter().copied().collect();
        assert_eq!(phases.len(), all[1].len(), "{plot:?}");
        for (seq, phase) in watching.iter().flat_map(Watching::phases) {
            assert_eq!(phases[seq], *phase, "{plot:?}, step {seq}");
        }
        for (seq, step, ..) in &of_key[0] {
            assert_eq!(*seq, step.number(), "{plot:?}");
        }
        let ends = [of_key, of_ticket].map(|of| of[0].last().unwrap().3.unwrap());
        let [(status, reason), (seen, page_reason)] = ends;
        assert_eq!(status, seen);
        let hidden = [Plot::CardFails, Plot::Declined, Plot::NotMe].contains(&plot);
        assert_eq!(page_reason, reason.filter(|_| !hidden), "{plot:?}");
        assert_eq!(reason.is_some_and(Reason::is_hidden_from_pages), hidden, "{plot:?}");
        let Status::Ended(outcome) = status else { panic!("{plot:?} did not end") };
        // The fourth road tells the end alone, to the initiator: in the same words, by the same
        // number.
        let of_this = |received: &Received| received.json()["data"]["id"] == json!(opened.id);
        let webhook = receiver.until_those(1, of_this).await.remove(0).json();
        let (seq, _, at, _) = of_key[0].last().unwrap();
        let mut data = json!({
            "id": opened.id, "type": "authentication", "outcome": outcome, "seq": seq,
        });
        if let Some(reason) = reason {
            data["reason"] = json!(reason);
        }
        let told = json!({ "type": "ceremony.closed", "data": data, "timestamp": at });
        assert_eq!(webhook, told, "{plot:?}");
        outcomes.insert(format!("{outcome:?}"));
        let ended: Vec<_> = watching.iter().map(Watching::ended).collect();
        let in_order = [Ended::InOrder, Ended::InOrder, Ended::Closed(1000)].map(Some);
        assert_eq!(ended, [in_order, in_order].concat(), "{plot:?}");
    }
    assert_eq!(outcomes.len(), 7, "every outcome there is: {outcomes:?}");
    assert_eq!(receiver.received().len(), Plot::ALL.len(), "each end is told once");
    assert_eq!(stage.relay.running.relay().occupancy().watched, 0);
}

#[tokio::test]
async fn whoever_breaks_off_at_every_event_and_changes_roads_misses_none_and_sees_none_twice() {
    use Road::{Events, Poll, Socket};
    let stage = Stage::set().await;
    let ways: [&[Road]; 6] = [
        &[Poll],
        &[Events],
        &[Socket],
        &[Poll, Events, Socket],
        &[Socket, Events, Poll],
        &[Events, Events, Socket, Socket, Poll],
    ];
    for way in ways {
        let opened = stage.open(Binding::Code, LONG).await;
        let mut roads = way.iter().copied().cycle();
        let mut seen = Vec::new();
        let id = opened.id;
        for turn in 0..8 {
            // Already there when it happens, and there only after it happened, by turns.
            let since = last(&seen);
            let road = roads.next().unwrap();
            let early = (turn % 2 == 0)
                .then(|| Watching::after(since, road, &stage.initiator, id, &opened.ticket));
            let early = match early {
                Some(setting_out) => Some(setting_out.await),
                None => None,
            };
            match turn {
                0 => {}
                1 => stage.drive(id, Event::Sent { device: DEVICE }).await,
                2 => stage.drive(id, Event::Acked { device: DEVICE, of: AckOf::Offer }).await,
                3 => stage.claim(&opened, true).await,
                // The challenge comes by itself.
                4 => {}
                5 => {
                    let (event, code) = (CardEvent::Present, None);
                    stage.drive(id, Event::Card { device: DEVICE, event, code }).await;
                }
                6 => stage.answer(id, Plot::Succeeds).await,
                // And so does the verdict.
                _ => {}
            }
            let mut watching = match early {
                Some(early) => early,
                None => Watching::after(since, road, &stage.initiator, id, &opened.ticket).await,
            };
            seen.push(told(&watching.next().await.expect("one more")));
        }
        let whole =
            Watching::after(0, Poll, &stage.initiator, id, &opened.ticket).await.rest().await;
        assert_eq!(seen, whole.iter().map(told).collect::<Vec<_>>(), "{way:?}");
        assert_eq!(seen.last().unwrap().3, Some((Status::Ended(Outcome::Succeeded), None)));
    }
}

#[tokio::test]
async fn a_restart_ends_every_road_so_that_its_watcher_goes_on_at_the_next_process() {
    let mut stage = Stage::set().await;
    for road in Road::ALL {
        let opened = stage.open(Binding::Code, LONG).await;
        stage.drive(opened.id, Event::Sent { device: DEVICE }).await;
        let mut watching =
            Watching::after(0, road, &stage.initiator, opened.id, &opened.ticket).await;
        let mut seen: Vec<Told> = Vec::new();
        for _ in 0..2 {
            seen.push(told(&watching.next().await.unwrap()));
        }
        // The stop waits for held polls, and must not wait long.
        let restart = async {
            while stage.relay.running.relay().occupancy().watched == 0 {
                tokio::task::yield_now().await;
            }
            stage.restart().await
        };
        let (stage_again, rest) = futures::future::join(Box::pin(restart), watching.rest()).await;
        stage = stage_again;
        assert_eq!(rest, [], "{road:?}");
        let expected = match road {
            Road::Poll | Road::Events => Ended::InOrder,
            Road::Socket => Ended::Closed(1012),
        };
        assert_eq!(watching.ended(), Some(expected), "{road:?}");
        let mut again =
            Watching::after(last(&seen), road, &stage.initiator, opened.id, &opened.ticket).await;
        let (rest, ()) =
            futures::future::join(again.rest(), stage.play(&opened, Plot::Succeeds)).await;
        seen.extend(rest.iter().map(told));
        let whole =
            Watching::after(0, Road::Events, &stage.initiator, opened.id, &opened.ticket).await;
        let mut whole = whole;
        let whole: Vec<_> = whole.rest().await.iter().map(told).collect();
        assert_eq!(seen, whole, "{road:?}");
        let steps: Vec<_> = whole.iter().map(|(_, step, ..)| *step).collect();
        assert_eq!(steps.last(), Some(&Step::Closed));
    }
}

/// Numbers that the ceremony does not have: of a restored backup, or of a watcher in error.
#[tokio::test]
async fn a_watcher_ahead_of_the_record_is_still_told_the_end_on_every_road() {
    let stage = Stage::set().await;
    for since in [20, 60, 61, 999, u32::MAX] {
        for road in Road::ALL {
            if (road, since) == (Road::Poll, 60) {
                // Its answer holds the end, which has the number that this watcher says it has.
                continue;
            }
            let opened = stage.open(Binding::Code, LONG).await;
            let id = opened.id;
            stage.drive(id, Event::Sent { device: DEVICE }).await;
            let mut early =
                Watching::after(since, road, &stage.initiator, id, &opened.ticket).await;
            let cancels = stage.play(&opened, Plot::Cancelled);
            let (of_early, ()) = futures::future::join(early.rest(), cancels).await;
            let what = format!("{road:?} after {since}");
            let cancelled = Some((Status::Ended(Outcome::Cancelled), None));
            assert_eq!(of_early.last().map(|end| told(end).3), Some(cancelled), "{what}");
            // A watcher that has seen the end is not sent it again.
            if since == 60 {
                continue;
            }
            let mut late = Watching::after(since, road, &stage.initiator, id, &opened.ticket).await;
            let of_late: Vec<_> = late.rest().await.iter().map(told).collect();
            let [(60, Step::Closed, _, end)] = &of_late[..] else { panic!("{what}: {of_late:?}") };
            assert_eq!(*end, cancelled, "{what}");
        }
    }
    let opened = stage.open(Binding::Code, LONG).await;
    stage.play(&opened, Plot::Cancelled).await;
    let path = format!("/v1/ceremonies/{}/events?since=60", opened.id);
    assert_eq!(stage.initiator.get(&path).await.status(), 204, "all of it was seen");
}

/// With binding `none` the challenge, which has the higher number, comes before the phone has it.
#[tokio::test]
async fn numbers_that_fall_are_told_in_the_order_of_the_steps_on_every_road() {
    let stage = Stage::set().await;
    let opened = stage.open(Binding::None, LONG).await;
    let id = opened.id;
    stage.challenged(id).await;
    stage.drive(id, Event::Sent { device: DEVICE }).await;
    let numbers = [10, 30, 11, 13, 50, 60];
    let setting_out = Road::ALL.map(|road| (0..=3).map(move |seen| (road, seen)));
    let mut watching = Vec::new();
    for (road, seen) in setting_out.into_iter().flatten() {
        let since = if seen == 0 { 0 } else { numbers[seen - 1] };
        let there = Watching::after(since, road, &stage.initiator, id, &opened.ticket).await;
        watching.push((seen, road, there));
    }
    let play = async {
        stage.drive(id, Event::Acked { device: DEVICE, of: AckOf::Challenge }).await;
        stage.answer(id, Plot::Succeeds).await;
    };
    let all = join_all(watching.iter_mut().map(async |(seen, road, there)| {
        let told: Vec<_> = there.rest().await.iter().map(|event| event.seq).collect();
        assert_eq!(told, numbers[*seen..], "{road:?} after {seen}");
    }));
    futures::future::join(all, play).await;
}
