//! What the app does beside its line to the relay: asks the person, uses the card, waits, tells. The
//! same for a socket that is held and for a phone that sleeps; what is to be done [`super::app`] says.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::{CeremonyId, DeviceFrame, DeviceId, RelayFrame};
use futures::StreamExt as _;
use futures::future::{AbortHandle, Abortable, Aborted, BoxFuture};
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::app::{Act, App};
use super::card::Card;
use super::event::{PhoneEvent, Stopped};
use super::handle::Command;
use super::pairing::Paired;
use super::person::{Decision, Person};
use super::roots::Roots;
use super::rotation::Rotation;
use fido_relay_kit::random;

/// A frame that the relay could not take goes out again after half to one and a half of this.
const RETRY: Duration = Duration::from_millis(1000);

/// What carries frames to the relay.
pub(super) trait Line: Send {
    /// Sends a frame; gives the answer where it comes with the sending. What cannot be sent is
    /// lost, as on any phone.
    fn send(
        &mut self,
        paired: &Paired,
        frame: &DeviceFrame,
    ) -> impl Future<Output = Option<RelayFrame>> + Send;

    /// The phone breaks it.
    fn breaks(&mut self);
}

/// No line at all.
pub(super) struct Nowhere;

impl Line for Nowhere {
    async fn send(&mut self, _: &Paired, _: &DeviceFrame) -> Option<RelayFrame> {
        None
    }

    fn breaks(&mut self) {}
}

/// Where the events of a phone go.
pub(super) enum Listener {
    Channel(mpsc::Sender<PhoneEvent>),
    Shared(Arc<dyn Fn(DeviceId, PhoneEvent) + Send + Sync>),
    Nobody,
}

/// What a pending future brings.
pub(super) enum Due {
    Decided(CeremonyId, Decision),
    Retry(Option<CeremonyId>),
    TimedOut(Option<CeremonyId>),
}

/// What happened without the relay.
pub(super) enum Happened {
    Due(Result<Due, Aborted>),
    Command(Command),
}

/// The app with everything but its line.
pub(super) struct Hands {
    pub(super) app: App,
    pub(super) paired: Paired,
    pub(super) roots: Roots,
    pub(super) rotation: Rotation,
    card: Arc<dyn Card>,
    person: Arc<dyn Person>,
    pending: FuturesUnordered<Abortable<BoxFuture<'static, Due>>>,
    deciding: HashMap<CeremonyId, AbortHandle>,
    alarms: HashMap<Option<CeremonyId>, AbortHandle>,
    inbox: mpsc::Receiver<Command>,
    listener: Listener,
    pub(super) stopping: CancellationToken,
}

/// What a phone is made of.
pub(super) struct Parts {
    pub(super) app: App,
    pub(super) paired: Paired,
    pub(super) roots: Roots,
    pub(super) card: Arc<dyn Card>,
    pub(super) person: Arc<dyn Person>,
    pub(super) inbox: mpsc::Receiver<Command>,
    pub(super) listener: Listener,
    pub(super) stopping: CancellationToken,
}

impl Hands {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { app, paired, roots, card, person, inbox, listener, stopping } = parts;
        Self {
            app,
            paired,
            roots,
            rotation: Rotation::default(),
            card,
            person,
            pending: FuturesUnordered::new(),
            deciding: HashMap::new(),
            alarms: HashMap::new(),
            inbox,
            listener,
            stopping,
        }
    }

    /// The next thing that happens without the relay. Cancelling the wait loses nothing.
    pub(super) async fn happens(&mut self) -> Happened {
        tokio::select! {
            biased;
            Some(due) = self.pending.next(), if !self.pending.is_empty() => Happened::Due(due),
            Some(command) = self.inbox.recv() => Happened::Command(command),
            // Neither a person nor a handle: only the relay can bring anything.
            else => std::future::pending().await,
        }
    }

    /// Does what follows from it.
    pub(super) async fn follow(&mut self, happened: Happened, line: &mut impl Line) {
        let acts = match happened {
            Happened::Due(Ok(Due::Decided(id, decision))) => {
                self.deciding.remove(&id);
                self.app.decided(id, decision)
            }
            Happened::Due(Ok(Due::Retry(id))) => self.app.retry(id),
            Happened::Due(Ok(Due::TimedOut(id))) => self.app.timed_out(id),
            Happened::Due(Err(Aborted)) => return,
            Happened::Command(Command::Decide(id, decision)) => self.app.decided(id, decision),
            Happened::Command(Command::TypeCode(code)) => self.app.typed_alone(code),
            Happened::Command(Command::HeldNotMe) => self.app.held_were_not_me(),
            Happened::Command(Command::Break) => return line.breaks(),
            // The line waits meanwhile: what is signed next has the key that came of it.
            Happened::Command(Command::RotateKey) => {
                let event = self.rotation.begin(&mut self.paired, &self.roots).await;
                return self.tell(event).await;
            }
        };
        self.perform(acts, line).await;
    }

    /// Without a line: the person goes on meanwhile. An error means that the phone stops.
    pub(super) async fn wait(&mut self, until: Instant) -> Result<(), Stopped> {
        let stopping = self.stopping.clone();
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return Err(Stopped::Told),
                () = tokio::time::sleep_until(until) => return Ok(()),
                happened = self.happens() => self.follow(happened, &mut Nowhere).await,
            }
        }
    }

    /// Does what the app wants.
    pub(super) async fn perform(&mut self, acts: Vec<Act>, line: &mut impl Line) {
        let mut acts = VecDeque::from(acts);
        while let Some(act) = acts.pop_front() {
            match act {
                Act::Send(frame) => {
                    if let Some(answer) = line.send(&self.paired, &frame).await {
                        acts.extend(self.app.frame(answer));
                    }
                }
                Act::Tell(event) => self.tell(event).await,
                Act::Ask(ask) => {
                    let id = ask.offer.ceremony_id;
                    let decision = self.person.decide(*ask);
                    let abort =
                        self.later(Box::pin(async move { Due::Decided(id, decision.await) }));
                    if let Some(before) = self.deciding.insert(id, abort) {
                        before.abort();
                    }
                }
                Act::UseCard(challenge) => {
                    let result = self.card.sign(&challenge);
                    // Before what is left of the batch: it was planned without the answer.
                    for act in self.app.signed(&challenge, result).into_iter().rev() {
                        acts.push_front(act);
                    }
                }
                Act::RetrySoon(id) => {
                    let half = RETRY / 2;
                    let jitter = random::below(u64::try_from(RETRY.as_millis()).unwrap_or(0));
                    let wait = half + Duration::from_millis(jitter);
                    self.later(Box::pin(async move {
                        tokio::time::sleep(wait).await;
                        Due::Retry(id)
                    }));
                }
                Act::WakeIn(id, seconds) => {
                    let alarm = self.later(Box::pin(async move {
                        tokio::time::sleep(Duration::from_secs(seconds)).await;
                        Due::TimedOut(id)
                    }));
                    if let Some(before) = self.alarms.insert(id, alarm) {
                        before.abort();
                    }
                }
                Act::TakeDown(id) => {
                    let waiting = [self.deciding.remove(&id), self.alarms.remove(&Some(id))];
                    waiting.into_iter().flatten().for_each(|waiting| waiting.abort());
                }
                Act::Drop => line.breaks(),
            }
        }
    }

    fn later(&self, future: BoxFuture<'static, Due>) -> AbortHandle {
        let (future, abort) = futures::future::abortable(future);
        self.pending.push(future);
        abort
    }

    pub(super) async fn tell(&mut self, event: PhoneEvent) {
        match &self.listener {
            Listener::Channel(events) => {
                let sent = tokio::select! {
                    biased;
                    sent = events.send(event) => sent,
                    () = self.stopping.cancelled() => Ok(()),
                };
                if sent.is_err() {
                    self.listener = Listener::Nobody;
                }
            }
            Listener::Shared(listener) => listener(self.paired.device_id, event),
            Listener::Nobody => {}
        }
    }

    /// The phone connects no more.
    pub(super) async fn end(mut self, stopped: Stopped) {
        self.stopping.cancel();
        self.tell(PhoneEvent::Stopped(stopped)).await;
    }
}
