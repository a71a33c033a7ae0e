//! One ceremony with its kills, played to its end.

use std::time::Duration;

use fido_relay::fault_point::Point;
use fido_relay::tasks::Tasks;
use fido_relay_proto::http::Status;
use fido_relay_proto::{CeremonyId, CeremonyType};
use fido_relay_rig::phone::Codes;
use futures::future::join_all;
use tokio::time::sleep;

use super::history::{Recorder, Seen};
use super::outside::{self, Initiator};
use super::place::Place;
use crate::support::child_relay::ChildRelay;
#[cfg(target_os = "linux")]
use crate::support::kernel;
use crate::watch::roads::Road;

/// When a relay is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kill {
    /// At this step.
    At(Point),
    /// So long after it took up the ceremony.
    After(Duration),
}

impl Kill {
    fn point(self) -> Option<Point> {
        match self {
            Self::At(point) => Some(point),
            Self::After(_) => None,
        }
    }
}

/// What is to be played.
#[derive(Debug)]
pub(super) struct Run {
    ceremony_type: CeremonyType,
    kills: Vec<Kill>,
    sleeps: bool,
    recorder: Recorder,
}

impl Run {
    /// Each relay that is started is killed once; the one after the last kill lives.
    /// A phone that `sleeps` holds no socket: it is woken, and pulls.
    pub(super) fn new(ceremony_type: CeremonyType, kills: Vec<Kill>, sleeps: bool) -> Self {
        Self { ceremony_type, kills, sleeps, recorder: Recorder::default() }
    }

    /// Plays it and gives everything that was seen.
    pub(super) async fn play(self) -> Vec<Seen> {
        let tasks = Tasks::default();
        let first = self.kills.first().and_then(|kill| kill.point());
        let server = outside::server(&self.recorder, first);
        let place = Place::new(&server.url()).await;
        let key = place.home.api_key().await;
        let mut initiator = Initiator::new(&place, key, &self.recorder);
        let mut relay = place.start(first).await;
        initiator.has_webhooks(&place.webhook_url()).await;
        let codes = initiator.phone(&tasks, self.sleeps).await;
        let mut opened = None;
        for (nth, kill) in self.kills.iter().enumerate() {
            let ceremony = self.ceremony(&initiator, &codes, &mut opened);
            tokio::join!(ceremony, self.kill(*kill, relay));
            self.recorder.write(Seen::Killed(kill.point()));
            let next = self.kills.get(nth + 1).and_then(|kill| kill.point());
            relay = place.start(next).await;
            self.recorder.write(Seen::Restarted);
            initiator = initiator.again();
        }
        self.ceremony(&initiator, &codes, &mut opened).await;
        place.hears_the_end(opened.expect("a relay that lives opens it")).await;
        // A phone that knows its answer accepted may never hear the end: it asks no more.
        let content = |seen: &Seen| matches!(seen, Seen::Accepted { .. } | Seen::ToldEnd { .. });
        self.recorder.until("the end, or that the answer is accepted, at the phone", content).await;
        tasks.stopping().cancel();
        drop(initiator);
        // Of peers that were cut off or left, no connection remains.
        #[cfg(target_os = "linux")]
        kernel::becomes("connections", || kernel::at_port(place.port()), Vec::is_empty).await;
        relay.kill().await;
        for stored in place.stored().await {
            self.recorder.write(stored);
        }
        place.no_ended_ceremony_counts_as_open().await;
        place.audit_is_complete().await;
        self.recorder.history()
    }

    /// The initiator's part, and the person's: opens the ceremony if no 201 has told so, types the
    /// code, and follows it to its end or the relay's.
    async fn ceremony(
        &self,
        initiator: &Initiator,
        codes: &Codes,
        opened: &mut Option<CeremonyId>,
    ) {
        if opened.is_none()
            && let Some(order) = initiator.open(self.ceremony_type).await
        {
            *opened = Some(order.id);
            if let Some(code) = order.code {
                codes.provide(order.id, code);
            }
        }
        if let Some(id) = opened {
            let watchers = join_all(Road::ALL.map(|road| initiator.watch(road, *id)));
            tokio::join!(initiator.follow(*id), watchers);
        }
    }

    /// Kills the relay when its time has come.
    async fn kill(&self, kill: Kill, mut relay: ChildRelay) {
        match kill {
            Kill::After(moment) => sleep(moment).await,
            Kill::At(point) => {
                relay.prints(&format!("fault point reached: {}", point.name())).await;
                self.arrives(point).await;
            }
        }
        relay.kill().await;
    }

    /// Waits for what a point that the relay only passes makes happen outside of it.
    async fn arrives(&self, point: Point) {
        let until = |what, fits: fn(&Seen) -> bool| self.recorder.until(what, fits);
        match point {
            Point::Answered => until("201", |seen| matches!(seen, Seen::Opened(_))).await,
            Point::BeginInFlight => {
                until("a begin call", |seen| matches!(seen, Seen::Begun { .. })).await;
            }
            Point::CompletionInFlight => {
                until("a completion call", |seen| matches!(seen, Seen::Completed { .. })).await;
            }
            Point::Notified => {
                let told = |seen: &Seen| {
                    matches!(seen, Seen::ToldEnd { .. } | Seen::Read(_, Some(Status::Ended(_))))
                };
                until("the end", told).await;
            }
            Point::Received
            | Point::Stored
            | Point::Offered
            | Point::Woken
            | Point::Claimed
            | Point::Begun
            | Point::ChallengeSent
            | Point::AnswerReceived
            | Point::AnswerStored
            | Point::CompletionIntentStored
            | Point::UpstreamAnswered
            | Point::Closed => {}
        }
    }
}
