//! One ceremony with one kill in it, played to its end.

use std::time::Duration;

use fido_relay::fault_point::Point;
use fido_relay::tasks::Tasks;
use fido_relay_proto::CeremonyType;
use fido_relay_proto::http::{OpenedCeremony, Status};
use tokio::time::sleep;

use super::history::{Recorder, Seen};
use super::outside::{self, Initiator};
use super::process::{Place, RelayProcess};

/// When the relay is killed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kill {
    /// At this step.
    At(Point),
    /// So long after the order to open was sent.
    After(Duration),
}

/// What is to be played.
#[derive(Debug)]
pub(super) struct Run {
    ceremony_type: CeremonyType,
    kill: Kill,
    recorder: Recorder,
}

impl Run {
    pub(super) fn new(ceremony_type: CeremonyType, kill: Kill) -> Self {
        Self { ceremony_type, kill, recorder: Recorder::default() }
    }

    /// Plays it and gives everything that was seen.
    pub(super) async fn play(self) -> Vec<Seen> {
        let tasks = Tasks::default();
        let point = match self.kill {
            Kill::At(point) => Some(point),
            Kill::After(_) => None,
        };
        let server = outside::server(&self.recorder, point);
        let place = Place::new();
        let initiator = Initiator::new(&place, place.api_key().await, &self.recorder);
        let relay = RelayProcess::start(&place, &server.url(), point, &tasks).await;
        let codes = initiator.phone(&tasks).await;
        let tell = |opened: &OpenedCeremony| {
            if let Some(code) = &opened.code {
                codes.tell(opened.id, code.clone());
            }
        };

        let ceremony = async {
            let opened = initiator.open(self.ceremony_type).await?;
            tell(&opened);
            initiator.follow(opened.id).await;
            Some(opened.id)
        };
        let (opened, ()) = tokio::join!(ceremony, self.kill(relay));
        self.recorder.write(Seen::Killed(point));

        let relay = RelayProcess::start(&place, &server.url(), None, &tasks).await;
        self.recorder.write(Seen::Restarted);
        let initiator = initiator.again();
        let id = match opened {
            Some(id) => id,
            None => {
                let opened = initiator.open(self.ceremony_type).await.expect("it serves again");
                tell(&opened);
                opened.id
            }
        };
        initiator.follow(id).await;
        // A phone that knows its answer accepted may never hear the end: it asks no more.
        let content = |seen: &Seen| matches!(seen, Seen::Accepted { .. } | Seen::ToldEnd { .. });
        self.recorder.until("the end, or that the answer is accepted, at the phone", content).await;
        relay.kill().await;
        tasks.stopping().cancel();
        for stored in place.stored().await {
            self.recorder.write(stored);
        }
        self.recorder.history()
    }

    /// Kills the relay when its time has come.
    async fn kill(&self, mut relay: RelayProcess) {
        match self.kill {
            Kill::After(moment) => sleep(moment).await,
            Kill::At(point) => {
                relay.at(point).await;
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
