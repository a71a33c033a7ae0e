//! Performs the app's effects: asks the person, uses the card, sets timers, emits events. The same for
//! a phone on a socket and for one that sleeps; [`super::app`] makes the decisions.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fido_relay_kit::random;
use fido_relay_proto::{CeremonyId, DeviceFrame, DeviceId, RelayFrame};
use futures::StreamExt as _;
use futures::future::{AbortHandle, Abortable, Aborted, BoxFuture};
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::app::{App, Effect};
use super::card::Card;
use super::event::{PhoneEvent, StopReason};
use super::handle::PhoneCommand;
use super::pairing::Paired;
use super::person::{Decision, Person};
use super::roots::Roots;
use super::rotation::Rotation;

/// Mean pause before a frame that the relay could not take is sent again; jittered by half.
const RETRY: Duration = Duration::from_millis(1000);

/// Carries frames to the relay.
pub(super) trait FrameTransport: Send {
    /// Sends a frame, and returns the answer where the transport is request and response. A frame
    /// that cannot be sent is lost.
    fn send(
        &mut self,
        paired: &Paired,
        frame: &DeviceFrame,
    ) -> impl Future<Output = Option<RelayFrame>> + Send;

    /// Breaks the connection without a farewell.
    fn break_connection(&mut self);
}

/// For a phone between two connections.
pub(super) struct NoTransport;

impl FrameTransport for NoTransport {
    async fn send(&mut self, _: &Paired, _: &DeviceFrame) -> Option<RelayFrame> {
        None
    }

    fn break_connection(&mut self) {}
}

/// Where the events of a phone go.
pub(super) enum EventSink {
    Channel(mpsc::Sender<PhoneEvent>),
    Shared(Arc<dyn Fn(DeviceId, PhoneEvent) + Send + Sync>),
    Closed,
}

/// The result of a pending future.
pub(super) enum Finished {
    Decided(CeremonyId, Decision),
    Retry(Option<CeremonyId>),
    TimedOut(Option<CeremonyId>),
}

/// An event that does not come from the relay.
pub(super) enum LocalEvent {
    Finished(Result<Finished, Aborted>),
    Command(PhoneCommand),
}

/// The app with everything that it acts on but the transport.
pub(super) struct PhoneRuntime {
    pub(super) app: App,
    pub(super) paired: Paired,
    pub(super) roots: Roots,
    pub(super) rotation: Rotation,
    card: Arc<dyn Card>,
    person: Arc<dyn Person>,
    pending: FuturesUnordered<Abortable<BoxFuture<'static, Finished>>>,
    deciding: HashMap<CeremonyId, AbortHandle>,
    alarms: HashMap<Option<CeremonyId>, AbortHandle>,
    inbox: mpsc::Receiver<PhoneCommand>,
    events: EventSink,
    pub(super) stopping: CancellationToken,
}

pub(super) struct RuntimeParts {
    pub(super) app: App,
    pub(super) paired: Paired,
    pub(super) roots: Roots,
    pub(super) card: Arc<dyn Card>,
    pub(super) person: Arc<dyn Person>,
    pub(super) inbox: mpsc::Receiver<PhoneCommand>,
    pub(super) events: EventSink,
    pub(super) stopping: CancellationToken,
}

impl PhoneRuntime {
    pub(super) fn new(parts: RuntimeParts) -> Self {
        let RuntimeParts { app, paired, roots, card, person, inbox, events, stopping } = parts;
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
            events,
            stopping,
        }
    }

    /// The next event that does not come from the relay. Cancel safe.
    pub(super) async fn next_local_event(&mut self) -> LocalEvent {
        tokio::select! {
            biased;
            Some(due) = self.pending.next(), if !self.pending.is_empty() => LocalEvent::Finished(due),
            Some(command) = self.inbox.recv() => LocalEvent::Command(command),
            // Without a pending decision and a handle only the relay can cause anything.
            else => std::future::pending().await,
        }
    }

    pub(super) async fn handle(&mut self, event: LocalEvent, transport: &mut impl FrameTransport) {
        let effects = match event {
            LocalEvent::Finished(Ok(Finished::Decided(id, decision))) => {
                self.deciding.remove(&id);
                self.app.decided(id, decision)
            }
            LocalEvent::Finished(Ok(Finished::Retry(id))) => self.app.retry(id),
            LocalEvent::Finished(Ok(Finished::TimedOut(id))) => self.app.timed_out(id),
            LocalEvent::Finished(Err(Aborted)) => return,
            LocalEvent::Command(PhoneCommand::Decide(id, decision)) => {
                self.app.decided(id, decision)
            }
            LocalEvent::Command(PhoneCommand::TypeCode(code)) => self.app.typed_alone(code),
            LocalEvent::Command(PhoneCommand::HeldNotMe) => self.app.held_were_not_me(),
            LocalEvent::Command(PhoneCommand::Break) => return transport.break_connection(),
            // Awaited here: the next proof is signed by the key that results.
            LocalEvent::Command(PhoneCommand::RotateKey) => {
                let event = self.rotation.begin(&mut self.paired, &self.roots).await;
                return self.emit(event).await;
            }
        };
        self.perform(effects, transport).await;
    }

    /// Waits between two connections while the person goes on. An error means that the phone stops.
    pub(super) async fn wait(&mut self, until: Instant) -> Result<(), StopReason> {
        let stopping = self.stopping.clone();
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return Err(StopReason::Requested),
                () = tokio::time::sleep_until(until) => return Ok(()),
                event = self.next_local_event() => self.handle(event, &mut NoTransport).await,
            }
        }
    }

    pub(super) async fn perform(
        &mut self,
        effects: Vec<Effect>,
        transport: &mut impl FrameTransport,
    ) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Send(frame) => {
                    if let Some(answer) = transport.send(&self.paired, &frame).await {
                        effects.extend(self.app.frame(answer));
                    }
                }
                Effect::Emit(event) => self.emit(event).await,
                Effect::Ask(ask) => {
                    let id = ask.offer.ceremony_id;
                    let decision = self.person.decide(*ask);
                    let abort =
                        self.later(Box::pin(async move { Finished::Decided(id, decision.await) }));
                    if let Some(before) = self.deciding.insert(id, abort) {
                        before.abort();
                    }
                }
                Effect::UseCard(challenge) => {
                    let result = self.card.sign(&challenge);
                    // First: the rest of the batch was decided without the answer.
                    for effect in self.app.signed(&challenge, result).into_iter().rev() {
                        effects.push_front(effect);
                    }
                }
                Effect::RetrySoon(id) => {
                    let half = RETRY / 2;
                    let jitter = random::below(u64::try_from(RETRY.as_millis()).unwrap_or(0));
                    let wait = half + Duration::from_millis(jitter);
                    self.later(Box::pin(async move {
                        tokio::time::sleep(wait).await;
                        Finished::Retry(id)
                    }));
                }
                Effect::SetTimer(id, seconds) => {
                    let alarm = self.later(Box::pin(async move {
                        tokio::time::sleep(Duration::from_secs(seconds)).await;
                        Finished::TimedOut(id)
                    }));
                    if let Some(before) = self.alarms.insert(id, alarm) {
                        before.abort();
                    }
                }
                Effect::Dismiss(id) => {
                    let waiting = [self.deciding.remove(&id), self.alarms.remove(&Some(id))];
                    waiting.into_iter().flatten().for_each(|waiting| waiting.abort());
                }
                Effect::BreakSocket => transport.break_connection(),
            }
        }
    }

    fn later(&self, future: BoxFuture<'static, Finished>) -> AbortHandle {
        let (future, abort) = futures::future::abortable(future);
        self.pending.push(future);
        abort
    }

    pub(super) async fn emit(&mut self, event: PhoneEvent) {
        match &self.events {
            EventSink::Channel(channel) => {
                let sent = tokio::select! {
                    biased;
                    sent = channel.send(event) => sent,
                    () = self.stopping.cancelled() => Ok(()),
                };
                if sent.is_err() {
                    self.events = EventSink::Closed;
                }
            }
            EventSink::Shared(callback) => callback(self.paired.device_id, event),
            EventSink::Closed => {}
        }
    }

    pub(super) async fn end(mut self, stopped: StopReason) {
        self.stopping.cancel();
        self.emit(PhoneEvent::Stopped(stopped)).await;
    }
}
