//! The real program ended at every step of a ceremony, by SIGKILL or by SIGTERM, under watchers on
//! every road and a webhook endpoint: all of them go on at the next process.

use std::sync::atomic::{AtomicBool, Ordering};

use fido_relay_proto::CeremonyId;
use fido_relay_proto::device::{AckOf, Card, CardEvent, Challenge};
use fido_relay_proto::http::{OpenedCeremony, Status};
use fido_relay_proto::{DeviceFrame, Outcome, RelayFrame, Step};
use fido_relay_rig::phone::Paired;
use futures::future::join_all;
use serde_json::json;

use super::roads::{Ended, Road, Told, Watching, last, told};
use crate::support::accepting_server::{CREDENTIAL, accepted_answer, is_completion};
use crate::support::child_relay::{ChildRelay, Home, pair};
use crate::support::relay::Initiator;
use crate::support::scripted_upstream::{Reply, ScriptedUpstream};
use crate::support::wire_phone::WirePhone;
use crate::webhooks::receiver::{Dies, Receiver};
use crate::webhooks::register;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Kill,
    Term,
}

/// The actors outside the process.
struct World {
    home: Home,
    way: Way,
    key: String,
    relay: ChildRelay,
    paired: Paired,
    opened: OpenedCeremony,
    /// On each road.
    watching: Vec<Watching>,
    seen: Vec<Vec<Told>>,
}

impl World {
    fn initiator(&self) -> Initiator {
        self.relay.initiator(&self.key)
    }

    async fn set_out(&mut self) {
        let (by, id) = (self.initiator(), self.opened.id);
        self.watching.clear();
        for (road, seen) in Road::ALL.into_iter().zip(&self.seen) {
            let since = last(seen);
            let ticket = &self.opened.ticket;
            self.watching.push(Watching::after(since, road, &by, id, ticket).await);
        }
    }

    /// Every watcher sees these, and nothing else.
    async fn see(&mut self, steps: &[Step]) {
        for (watching, seen) in self.watching.iter_mut().zip(&mut self.seen) {
            for step in steps {
                let event = watching.next().await.expect("one more");
                assert_eq!(event.step, *step);
                seen.push(told(&event));
            }
        }
    }

    /// Ends the process under those who wait, and has them go on at the next one.
    async fn next_process(mut self) -> Self {
        let mut watching = std::mem::take(&mut self.watching);
        let waiting = join_all(watching.iter_mut().map(Watching::rest));
        let end = async {
            match self.way {
                Way::Kill => self.relay.kill().await,
                Way::Term => drop(self.relay.stop().await),
            }
        };
        let (rest, ()) = futures::future::join(waiting, end).await;
        assert!(rest.iter().all(Vec::is_empty), "nothing was to be told: {rest:?}");
        for (road, watching) in Road::ALL.into_iter().zip(&watching) {
            let expected: &[_] = match (self.way, road) {
                (Way::Kill, _) => &[Ended::Broken],
                // One that asks at the very moment finds the door shut.
                (Way::Term, Road::Poll) => &[Ended::InOrder, Ended::Broken],
                (Way::Term, Road::Events) => &[Ended::InOrder],
                (Way::Term, Road::Socket) => &[Ended::Closed(1012)],
            };
            let ended = watching.ended().unwrap();
            assert!(expected.contains(&ended), "{road:?}: {ended:?}");
        }
        self.relay = ChildRelay::start(&self.home).await;
        self.paired.socket_url =
            format!("{}/v1/device/socket", self.relay.url().replacen("http", "ws", 1));
        self.set_out().await;
        self
    }

    async fn phone(&self) -> WirePhone {
        WirePhone::connect(self.paired.clone()).await
    }

    async fn challenge(&self) -> (WirePhone, Challenge) {
        let mut phone = self.phone().await;
        let challenge = phone.challenge().await;
        (phone, challenge)
    }
}

/// A FIDO2 server that accepts everything, but never answers the first completion if the relay is
/// to be killed in it.
fn upstream(way: Way) -> ScriptedUpstream {
    let held = AtomicBool::new(way == Way::Term);
    ScriptedUpstream::listening(move |number, request| {
        if is_completion(request) && !held.swap(true, Ordering::Relaxed) {
            return Reply::Hang;
        }
        Reply::Answer(accepted_answer(number, request))
    })
}

async fn ended_at_every_step(way: Way) -> (World, Receiver, ScriptedUpstream) {
    let (receiver, upstream) = (Receiver::start().await, upstream(way));
    let upstream_url = upstream.url();
    let mut home = Home::new(&[
        ("FIDO_RELAY_UPSTREAM__URL", &upstream_url),
        ("FIDO_RELAY_TENANT__RP_ID", "localhost"),
        ("FIDO_RELAY_LIMITS__DRAIN_S", "0"),
        ("FIDO_RELAY_LIMITS__ATTEMPTS_BURST", "100000"),
    ]);
    for (name, value) in receiver.variables() {
        home.set(name, &value);
    }
    let key = home.api_key().await;
    let relay = ChildRelay::start(&home).await;
    let initiator = relay.initiator(&key);
    register(&initiator, &json!({ "url": receiver.url() })).await;
    let (paired, _) = pair(&initiator, "ada").await;
    let order = json!({
        "type": "authentication", "username": "ada", "prior_auth": "session", "show_delivery": true,
    });
    let opened = initiator.open(&order).await;
    let (watching, seen) = (Vec::new(), vec![Vec::new(); Road::ALL.len()]);
    let mut world = World { home, way, key, relay, paired, opened, watching, seen };
    let id: CeremonyId = world.opened.id;

    world.set_out().await;
    world.see(&[Step::Opened]).await;
    let mut world = world.next_process().await;
    let mut phone = world.phone().await;
    assert_eq!(phone.offer().await.ceremony_id, id);
    world.see(&[Step::Sent]).await;
    drop(phone);
    let mut world = world.next_process().await;
    let mut phone = world.phone().await;
    phone.offer().await;
    phone.ack(id, AckOf::Offer).await;
    world.see(&[Step::Delivered]).await;
    drop(phone);
    let mut world = world.next_process().await;
    let mut phone = world.phone().await;
    phone.offer().await;
    phone.claim(id, world.opened.code.as_ref().unwrap()).await;
    world.see(&[Step::Claimed, Step::Challenged]).await;
    drop(phone);
    let mut world = world.next_process().await;
    let (mut phone, _) = world.challenge().await;
    let present = Card { ceremony_id: id, event: CardEvent::Present, code: None };
    phone.send(DeviceFrame::Card(present)).await;
    world.see(&[Step::Card]).await;
    drop(phone);
    let mut world = world.next_process().await;
    let (mut phone, challenge) = world.challenge().await;
    receiver.dies((way == Way::Kill).then_some(Dies::Never));
    phone.answer(id, challenge.attempt, CREDENTIAL).await;
    world.see(&[Step::Verifying]).await;
    if way == Way::Kill {
        drop(phone);
        world = world.next_process().await;
    } else {
        while !matches!(phone.next().await, RelayFrame::Closed { .. }) {}
    }
    world.see(&[Step::Closed]).await;
    (world, receiver, upstream)
}

/// Every road told each event once, and tells no more.
async fn assert_whole(world: &mut World) -> Told {
    let (by, id) = (world.initiator(), world.opened.id);
    let mut whole = Watching::after(0, Road::Events, &by, id, &world.opened.ticket).await;
    let whole: Vec<_> = whole.rest().await.iter().map(told).collect();
    for (road, seen) in Road::ALL.iter().zip(&world.seen) {
        assert_eq!(*seen, whole, "{road:?}");
    }
    assert_eq!(whole.len(), 8, "every step there is");
    for watching in &mut world.watching {
        assert_eq!(watching.rest().await, []);
    }
    whole.last().unwrap().clone()
}

#[tokio::test]
async fn a_relay_killed_at_every_step_is_followed_to_the_end_by_every_road() {
    let (mut world, receiver, _upstream) = ended_at_every_step(Way::Kill).await;
    let (seq, _, at, end) = assert_whole(&mut world).await;
    assert_eq!(end.unwrap().0, Status::Ended(Outcome::Indeterminate), "killed in the call");
    // The endpoint has it in hand and has not answered: the next process does not know.
    let first = receiver.until(1).await.remove(0);
    assert!(!first.answered);
    world.relay.kill().await;
    world.relay = ChildRelay::start(&world.home).await;
    let received = receiver.until(2).await;
    assert!(received[1].answered);
    assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
    assert_eq!(received[0].body, received[1].body);
    let body = received[1].json();
    assert_eq!((&body["data"]["seq"], &body["timestamp"]), (&json!(seq), &json!(at)));
    world.relay.kill().await;
}

#[tokio::test]
async fn a_relay_restarted_at_every_step_is_followed_to_the_end_by_every_road() {
    let (mut world, receiver, _upstream) = ended_at_every_step(Way::Term).await;
    let (seq, _, at, end) = assert_whole(&mut world).await;
    assert_eq!(end.unwrap(), (Status::Ended(Outcome::Succeeded), None));
    let body = receiver.until(1).await.remove(0).json();
    assert_eq!((&body["data"]["seq"], &body["timestamp"]), (&json!(seq), &json!(at)));
    world.relay.stop().await;
    assert_eq!(receiver.received().len(), 1);
}
