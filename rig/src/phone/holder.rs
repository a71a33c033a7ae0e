//! The task of a phone that holds a socket: connects, authenticates, reads, and connects again.
//! Everything that decides lives in [`super::app`] and [`super::reconnect`]; what
//! the app wants done [`super::hands`] does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::{DeviceFrame, DeviceId, RelayFrame};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::app::App;
use super::card::Card;
use super::event::{PhoneEvent, Stopped};
use super::faults::Faults;
use super::handle::PhoneHandle;
use super::hands::{Hands, Listener, Parts};
use super::pairing::Paired;
use super::person::Person;
use super::reconnect::{Cause, Next, Pace, Reconnect};
use super::roots::Roots;
use super::sleeper::{Bed, Sleeper};
use super::wire::{ConnectError, Socket, SocketEnd, Welcome};
use fido_relay_kit::random;
use fido_relay_kit::tasks::Tasks;

/// From dialling to `welcome`.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
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
    bed: Option<Bed>,
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
        Self { paired, card, person, faults, pace, roots, bed: None }
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

    /// The same phone, which holds no socket: it sleeps here, and is woken by its push service.
    #[must_use]
    pub fn asleep(mut self, bed: Bed) -> Self {
        self.bed = Some(bed);
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
        let hands = Hands::new(Parts {
            app: App::new(self.faults),
            paired: self.paired,
            roots: self.roots,
            card: self.card,
            person: self.person,
            inbox,
            listener,
            stopping: stopping.clone(),
        });
        let reconnect = Reconnect::new(self.pace);
        match self.bed {
            None => tasks.spawn_bare(Holder { hands, reconnect }.run()),
            Some(bed) => tasks.spawn_bare(Sleeper::new(hands, reconnect, bed).run()),
        }
        PhoneHandle { device_id, commands, stopping }
    }
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
    hands: Hands,
    reconnect: Reconnect,
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
                self.hands.rotation.refused(&mut self.hands.paired);
            }
            self.hands.tell(PhoneEvent::Disconnected { code, why: end.to_string() }).await;
            let left = goaway.map(|at| at.saturating_duration_since(Instant::now()));
            match self.reconnect.after(end.cause(), stood, left, random::below) {
                Next::Stop(why) => break why,
                Next::Wait(wait) => {
                    let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                    self.hands.tell(PhoneEvent::Waiting { ms }).await;
                    if self.hands.wait(Instant::now() + wait).await.is_err() {
                        break Stopped::Told;
                    }
                }
            }
        };
        self.hands.end(stopped).await;
    }

    /// One socket from dialling to its end: why it ended, how long it stood welcomed, and until
    /// when the relay wants no other.
    async fn hold(&mut self) -> (End, Duration, Option<Instant>) {
        let connecting =
            tokio::time::timeout(CONNECT_LIMIT, connect(&self.hands.roots, &self.hands.paired));
        let stopping = self.hands.stopping.clone();
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
        self.hands.rotation.welcomed();
        let mut line = Line { socket: Some(socket), end: None };
        self.hands.tell(PhoneEvent::Connected { connection_id: welcome.connection_id }).await;
        let acts = self.hands.app.connected();
        self.hands.perform(acts, &mut line).await;
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
        let stopping = self.hands.stopping.clone();
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
                        let (key, device_id) = (&self.hands.paired.key, self.hands.paired.device_id);
                        match socket.prove(key, device_id, &nonce).await {
                            Ok(()) => self.hands.tell(PhoneEvent::Reauthenticated).await,
                            Err(end) => return (End::Relay(end), goaway),
                        }
                    }
                    Ok(RelayFrame::Goaway { reconnect_in_ms }) => {
                        goaway = Some(Instant::now() + Duration::from_millis(reconnect_in_ms));
                        self.hands.tell(PhoneEvent::GoingAway { reconnect_in_ms }).await;
                    }
                    Ok(frame) => {
                        let acts = self.hands.app.frame(frame);
                        self.hands.perform(acts, line).await;
                    }
                    // A newer relay may say more than this app knows.
                    Err(SocketEnd::Frame(_)) => {}
                    Err(end) => return (End::Relay(end), goaway),
                },
                happened = self.hands.happens() => self.hands.follow(happened, line).await,
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
}

impl Line {
    fn ends(&mut self, end: End) {
        self.socket = None;
        self.end.get_or_insert(end);
    }
}

impl super::hands::Line for Line {
    /// Every answer comes as a frame of its own.
    async fn send(&mut self, _: &Paired, frame: &DeviceFrame) -> Option<RelayFrame> {
        if let Some(socket) = &mut self.socket
            && let Err(end) = socket.send(frame).await
        {
            self.ends(End::Relay(end));
        }
        None
    }

    fn breaks(&mut self) {
        self.ends(End::Broken);
    }
}

async fn connect(roots: &Roots, paired: &Paired) -> Result<(Socket, Welcome), End> {
    let socket = Socket::connect_trusting(roots, &paired.socket_url).await;
    let mut socket = socket.map_err(End::Connect)?;
    let welcome = socket.authenticate(&paired.key, paired.device_id).await.map_err(End::Relay)?;
    Ok((socket, welcome))
}
