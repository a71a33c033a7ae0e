//! The phone's one task: connects, authenticates, reads, performs what the app wants, and connects
//! again. Everything that decides lives in [`super::app`] and [`super::reconnect`].

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::{CeremonyId, DeviceId, RelayFrame};
use futures::StreamExt as _;
use futures::future::{AbortHandle, Abortable, Aborted, BoxFuture};
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::app::{Act, App};
use super::card::Card;
use super::event::{PhoneEvent, Stopped};
use super::faults::Faults;
use super::handle::{Command, PhoneHandle};
use super::pairing::Paired;
use super::person::{Decision, Person};
use super::reconnect::{Cause, Next, Pace, Reconnect};
use super::roots::Roots;
use super::rotation::Rotation;
use super::wire::{ConnectError, Socket, SocketEnd, Welcome};
use crate::security::random;
use crate::tasks::Tasks;

/// From dialling to `welcome`.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// A frame that the relay could not take goes out again after half to one and a half of this.
const RETRY: Duration = Duration::from_millis(1000);
/// Heartbeats without a sign of the relay after which the socket is taken for dead.
const SILENT_HEARTBEATS: u32 = 3;
/// Events that may wait to be read before the phone waits too.
const EVENTS: usize = 256;
/// Commands that may wait for the phone.
const COMMANDS: usize = 8;

/// A phone before it connects.
pub struct Phone {
    paired: Paired,
    card: Arc<dyn Card>,
    person: Arc<dyn Person>,
    faults: Faults,
    pace: Pace,
    roots: Roots,
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Phone").field("paired", &self.paired).finish_non_exhaustive()
    }
}

impl Phone {
    /// A phone without faults.
    #[must_use]
    pub fn new(paired: Paired, card: Arc<dyn Card>, person: Arc<dyn Person>) -> Self {
        let (faults, pace, roots) = (Faults::none(), Pace::default(), Roots::system());
        Self { paired, card, person, faults, pace, roots }
    }

    /// The same phone, trusting these roots.
    #[must_use]
    pub fn with_roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    /// The same phone with these faults.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// The same phone, dialling again at this pace.
    #[must_use]
    pub fn with_pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Starts the phone. It holds its socket until it is told to stop or the relay forbids it, and
    /// tells everything through the receiver; one that is not read in the end halts the phone, one
    /// that is dropped does not.
    #[must_use]
    pub fn connect(self, tasks: &Tasks) -> (PhoneHandle, mpsc::Receiver<PhoneEvent>) {
        let (events, told) = mpsc::channel(EVENTS);
        (self.start(tasks, Listener::Channel(events)), told)
    }

    /// Starts one of many phones that share a listener, which must not block.
    pub fn connect_with(
        self,
        tasks: &Tasks,
        listener: Arc<dyn Fn(DeviceId, PhoneEvent) + Send + Sync>,
    ) -> PhoneHandle {
        self.start(tasks, Listener::Shared(listener))
    }

    fn start(self, tasks: &Tasks, listener: Listener) -> PhoneHandle {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let stopping = tasks.stopping().child_token();
        let device_id = self.paired.device_id;
        let holder = Holder {
            app: App::new(self.faults),
            reconnect: Reconnect::new(self.pace),
            rotation: Rotation::default(),
            paired: self.paired,
            roots: self.roots,
            card: self.card,
            person: self.person,
            pending: FuturesUnordered::new(),
            deciding: HashMap::new(),
            alarms: HashMap::new(),
            inbox,
            listener,
            stopping: stopping.clone(),
        };
        tasks.spawn_bare(holder.run());
        PhoneHandle { device_id, commands, stopping }
    }
}

enum Listener {
    Channel(mpsc::Sender<PhoneEvent>),
    Shared(Arc<dyn Fn(DeviceId, PhoneEvent) + Send + Sync>),
    Nobody,
}

/// What a pending future brings.
enum Due {
    Decided(CeremonyId, Decision),
    Retry(Option<CeremonyId>),
    TimedOut(Option<CeremonyId>),
}

/// Why a socket is no more.
#[derive(Debug)]
enum End {
    Relay(SocketEnd),
    Connect(ConnectError),
    TooSlow,
    Silent,
    GoneAway,
    Broken,
    Stopping,
}

impl End {
    fn cause(&self) -> Cause {
        match self {
            Self::Relay(SocketEnd::Closed { code, .. }) => Cause::Closed(*code),
            Self::Connect(ConnectError::Refused { status, retry_after_s }) => {
                Cause::Refused { status: *status, retry_after_s: *retry_after_s }
            }
            Self::Relay(SocketEnd::Lost(_) | SocketEnd::Frame(_) | SocketEnd::Key(_))
            | Self::Connect(ConnectError::Url | ConnectError::Unreachable(_))
            | Self::TooSlow
            | Self::Silent
            | Self::GoneAway
            | Self::Broken
            | Self::Stopping => Cause::Lost,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relay(end) => end.fmt(f),
            Self::Connect(error) => error.fmt(f),
            Self::TooSlow => f.write_str("the relay did not welcome the device in time"),
            Self::Silent => f.write_str("the relay fell silent"),
            Self::GoneAway => f.write_str("the relay asked for another socket"),
            Self::Broken => f.write_str("the phone broke the socket"),
            Self::Stopping => f.write_str("the phone stops"),
        }
    }
}

/// A socket as far as the phone has come with it.
struct Line {
    socket: Option<Socket>,
    end: Option<End>,
}

struct Holder {
    paired: Paired,
    roots: Roots,
    card: Arc<dyn Card>,
    person: Arc<dyn Person>,
    app: App,
    reconnect: Reconnect,
    rotation: Rotation,
    pending: FuturesUnordered<Abortable<BoxFuture<'static, Due>>>,
    deciding: HashMap<CeremonyId, AbortHandle>,
    alarms: HashMap<Option<CeremonyId>, AbortHandle>,
    inbox: mpsc::Receiver<Command>,
    listener: Listener,
    stopping: CancellationToken,
}

impl Holder {
    async fn run(mut self) {
        let stopped = loop {
            let (end, stood, goaway) = self.hold().await;
            let code = match &end {
                End::Relay(end) => end.code(),
                End::Stopping => break Stopped::Told,
                End::Connect(_) | End::TooSlow | End::Silent | End::GoneAway | End::Broken => None,
            };
            if code == Some(4401) {
                self.rotation.refused(&mut self.paired);
            }
            self.tell(PhoneEvent::Disconnected { code, why: end.to_string() }).await;
            let left = goaway.map(|at| at.saturating_duration_since(Instant::now()));
            match self.reconnect.after(end.cause(), stood, left, random::below) {
                Next::Stop(why) => break why,
                Next::Wait(wait) => {
                    let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                    self.tell(PhoneEvent::Waiting { ms }).await;
                    if self.wait(Instant::now() + wait).await.is_err() {
                        break Stopped::Told;
                    }
                }
            }
        };
        self.stopping.cancel();
        self.tell(PhoneEvent::Stopped(stopped)).await;
    }

    /// One socket from dialling to its end: why it ended, how long it stood welcomed, and until
    /// when the relay wants no other.
    async fn hold(&mut self) -> (End, Duration, Option<Instant>) {
        let connecting = tokio::time::timeout(CONNECT_LIMIT, connect(&self.roots, &self.paired));
        let stopping = self.stopping.clone();
        let (socket, welcome) = tokio::select! {
            biased;
            () = stopping.cancelled() => return (End::Stopping, Duration::ZERO, None),
            connected = connecting => match connected {
                Ok(Ok(connected)) => connected,
                Ok(Err(end)) => return (end, Duration::ZERO, None),
                Err(_) => return (End::TooSlow, Duration::ZERO, None),
            },
        };
        let since = Instant::now();
        self.rotation.welcomed();
        let mut line = Line { socket: Some(socket), end: None };
        self.tell(PhoneEvent::Connected { connection_id: welcome.connection_id }).await;
        let acts = self.app.connected();
        self.perform(acts, &mut line).await;
        let (end, goaway) = self.attend(&mut line, welcome).await;
        if let (End::Stopping | End::GoneAway, Some(socket)) = (&end, line.socket) {
            socket.close().await;
        }
        // Even the shortest welcome counts as one.
        (end, since.elapsed().max(Duration::from_nanos(1)), goaway)
    }

    /// Reads the socket and listens to the person until the socket ends.
    async fn attend(&mut self, line: &mut Line, welcome: Welcome) -> (End, Option<Instant>) {
        let silence = Duration::from_secs(welcome.heartbeat_s.max(1)) * SILENT_HEARTBEATS;
        let silent = tokio::time::sleep(silence);
        tokio::pin!(silent);
        let mut goaway: Option<Instant> = None;
        let stopping = self.stopping.clone();
        loop {
            if let Some(end) = line.end.take() {
                return (end, goaway);
            }
            let Some(socket) = &mut line.socket else { return (End::Broken, goaway) };
            let leave_at = goaway.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                () = stopping.cancelled() => return (End::Stopping, goaway),
                read = socket.next_frame() => match read {
                    Ok(RelayFrame::Reauth { nonce, .. }) => {
                        let (key, device_id) = (&self.paired.key, self.paired.device_id);
                        match socket.prove(key, device_id, &nonce).await {
                            Ok(()) => self.tell(PhoneEvent::Reauthenticated).await,
                            Err(end) => return (End::Relay(end), goaway),
                        }
                    }
                    Ok(RelayFrame::Goaway { reconnect_in_ms }) => {
                        goaway = Some(Instant::now() + Duration::from_millis(reconnect_in_ms));
                        self.tell(PhoneEvent::GoingAway { reconnect_in_ms }).await;
                    }
                    Ok(frame) => {
                        let acts = self.app.frame(frame);
                        self.perform(acts, line).await;
                    }
                    // A newer relay may say more than this app knows.
                    Err(SocketEnd::Frame(_)) => {}
                    Err(end) => return (End::Relay(end), goaway),
                },
                Some(due) = self.pending.next(), if !self.pending.is_empty() => {
                    self.due(due, line).await;
                }
                Some(command) = self.inbox.recv() => self.command(command, line).await,
                () = tokio::time::sleep_until(leave_at), if goaway.is_some() => {
                    return (End::GoneAway, goaway);
                }
                () = &mut silent => {
                    let heard = socket.heard();
                    if heard.elapsed() >= silence {
                        return (End::Silent, goaway);
                    }
                    silent.as_mut().reset(heard + silence);
                }
            }
        }
    }

    /// Without a socket: the person goes on meanwhile. An error means that the phone stops.
    async fn wait(&mut self, until: Instant) -> Result<(), Stopped> {
        let stopping = self.stopping.clone();
        let mut none = Line { socket: None, end: None };
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => return Err(Stopped::Told),
                () = tokio::time::sleep_until(until) => return Ok(()),
                Some(due) = self.pending.next(), if !self.pending.is_empty() => {
                    self.due(due, &mut none).await;
                }
                Some(command) = self.inbox.recv() => self.command(command, &mut none).await,
            }
        }
    }

    async fn due(&mut self, due: Result<Due, Aborted>, line: &mut Line) {
        let acts = match due {
            Ok(Due::Decided(id, decision)) => {
                self.deciding.remove(&id);
                self.app.decided(id, decision)
            }
            Ok(Due::Retry(id)) => self.app.retry(id),
            Ok(Due::TimedOut(id)) => self.app.timed_out(id),
            Err(Aborted) => return,
        };
        self.perform(acts, line).await;
    }

    async fn command(&mut self, command: Command, line: &mut Line) {
        match command {
            Command::Decide(id, decision) => {
                let acts = self.app.decided(id, decision);
                self.perform(acts, line).await;
            }
            Command::TypeCode(code) => {
                let acts = self.app.typed_alone(code);
                self.perform(acts, line).await;
            }
            Command::HeldNotMe => {
                let acts = self.app.held_were_not_me();
                self.perform(acts, line).await;
            }
            Command::Break => line.breaks(End::Broken),
            // The socket waits meanwhile: a `reauth` is signed with the key that came of it.
            Command::RotateKey => {
                let event = self.rotation.begin(&mut self.paired, &self.roots).await;
                self.tell(event).await;
            }
        }
    }

    /// Does what the app wants. Frames without a socket are lost, as on any phone.
    async fn perform(&mut self, acts: Vec<Act>, line: &mut Line) {
        let mut acts = VecDeque::from(acts);
        while let Some(act) = acts.pop_front() {
            match act {
                Act::Send(frame) => {
                    if let Some(socket) = &mut line.socket
                        && let Err(end) = socket.send(&frame).await
                    {
                        line.breaks(End::Relay(end));
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
                Act::Drop => line.breaks(End::Broken),
            }
        }
    }

    fn later(&self, future: BoxFuture<'static, Due>) -> AbortHandle {
        let (future, abort) = futures::future::abortable(future);
        self.pending.push(future);
        abort
    }

    async fn tell(&mut self, event: PhoneEvent) {
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
}

impl Line {
    fn breaks(&mut self, end: End) {
        self.socket = None;
        self.end.get_or_insert(end);
    }
}

async fn connect(roots: &Roots, paired: &Paired) -> Result<(Socket, Welcome), End> {
    let socket = Socket::connect_trusting(roots, &paired.socket_url).await;
    let mut socket = socket.map_err(End::Connect)?;
    let welcome = socket.authenticate(&paired.key, paired.device_id).await.map_err(End::Relay)?;
    Ok((socket, welcome))
}
