//! The phone before it starts, and the task of one that holds a socket: connects, authenticates,
//! reads, and reconnects. [`super::app`] and [`super::reconnect`] decide, [`super::runtime`] performs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fido_relay_kit::random;
use fido_relay_kit::tasks::Tasks;
use fido_relay_proto::{DeviceFrame, DeviceId, RelayFrame};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::app::App;
use super::card::Card;
use super::event::{PhoneEvent, StopReason};
use super::faults::Faults;
use super::handle::PhoneHandle;
use super::pairing::Paired;
use super::person::Person;
use super::reconnect::{Backoff, DisconnectCause, Reconnect, ReconnectStep};
use super::roots::Roots;
use super::runtime::{EventSink, PhoneRuntime, RuntimeParts};
use super::sleep_task::{SleepTask, WakeChannel};
use super::wire::{ConnectError, Socket, SocketEnd, Welcome};

/// Limit from dialling to `welcome`.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// Heartbeat intervals without any frame after which the socket counts as dead.
const SILENT_HEARTBEATS: u32 = 3;
/// Unread events at which the phone waits for its reader.
const EVENTS: usize = 256;
const COMMANDS: usize = 8;

/// A phone before it starts.
pub struct Phone {
    paired: Paired,
    card: Arc<dyn Card>,
    person: Arc<dyn Person>,
    faults: Faults,
    backoff: Backoff,
    roots: Roots,
    wake_channel: Option<WakeChannel>,
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Phone").field("paired", &self.paired).finish_non_exhaustive()
    }
}

impl Phone {
    /// A phone without faults that will hold a socket.
    #[must_use]
    pub fn new(paired: Paired, card: Arc<dyn Card>, person: Arc<dyn Person>) -> Self {
        let (faults, backoff, roots) = (Faults::none(), Backoff::default(), Roots::system());
        Self { paired, card, person, faults, backoff, roots, wake_channel: None }
    }

    #[must_use]
    pub fn with_roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Lets the phone hold no socket: it sleeps until its push service wakes it.
    #[must_use]
    pub fn asleep(mut self, wake_channel: WakeChannel) -> Self {
        self.wake_channel = Some(wake_channel);
        self
    }

    /// Starts the phone, which runs until it is stopped or the relay forbids it. A receiver that is
    /// not read halts the phone once it is full; a dropped one does not.
    #[must_use]
    pub fn connect(self, tasks: &Tasks) -> (PhoneHandle, mpsc::Receiver<PhoneEvent>) {
        let (events, receiver) = mpsc::channel(EVENTS);
        (self.start(tasks, EventSink::Channel(events)), receiver)
    }

    /// Starts one of many phones with a shared callback, which must not block.
    pub fn connect_with(
        self,
        tasks: &Tasks,
        callback: Arc<dyn Fn(DeviceId, PhoneEvent) + Send + Sync>,
    ) -> PhoneHandle {
        self.start(tasks, EventSink::Shared(callback))
    }

    fn start(self, tasks: &Tasks, events: EventSink) -> PhoneHandle {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let stopping = tasks.stopping().child_token();
        let device_id = self.paired.device_id;
        let runtime = PhoneRuntime::new(RuntimeParts {
            app: App::new(self.faults),
            paired: self.paired,
            roots: self.roots,
            card: self.card,
            person: self.person,
            inbox,
            events,
            stopping: stopping.clone(),
        });
        let reconnect = Reconnect::new(self.backoff);
        match self.wake_channel {
            None => tasks.spawn_untraced(SocketTask { runtime, reconnect }.run()),
            Some(wake_channel) => {
                tasks.spawn_untraced(SleepTask::new(runtime, reconnect, wake_channel).run())
            }
        }
        PhoneHandle { device_id, commands, stopping }
    }
}

/// Why a connection ended.
#[derive(Debug)]
enum ConnectionEnd {
    Relay(SocketEnd),
    Connect(ConnectError),
    TooSlow,
    Silent,
    GoneAway,
    Broken,
    Stopping,
}

impl ConnectionEnd {
    fn cause(&self) -> DisconnectCause {
        match self {
            Self::Relay(SocketEnd::Closed { code, .. }) => DisconnectCause::Closed(*code),
            Self::Connect(ConnectError::Refused { status, retry_after_s }) => {
                DisconnectCause::Refused { status: *status, retry_after_s: *retry_after_s }
            }
            Self::Relay(SocketEnd::Lost(_) | SocketEnd::Frame(_) | SocketEnd::Key(_))
            | Self::Connect(ConnectError::Url | ConnectError::Unreachable(_))
            | Self::TooSlow
            | Self::Silent
            | Self::GoneAway
            | Self::Broken
            | Self::Stopping => DisconnectCause::Lost,
        }
    }
}

impl fmt::Display for ConnectionEnd {
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

/// A socket until its end.
struct SocketTransport {
    socket: Option<Socket>,
    end: Option<ConnectionEnd>,
}

struct SocketTask {
    runtime: PhoneRuntime,
    reconnect: Reconnect,
}

impl SocketTask {
    async fn run(mut self) {
        let stopped = loop {
            let (end, stood, goaway) = self.run_connection().await;
            let code = match &end {
                ConnectionEnd::Relay(end) => end.code(),
                ConnectionEnd::Stopping => break StopReason::Requested,
                ConnectionEnd::Connect(_)
                | ConnectionEnd::TooSlow
                | ConnectionEnd::Silent
                | ConnectionEnd::GoneAway
                | ConnectionEnd::Broken => None,
            };
            if code == Some(4401) {
                self.runtime.rotation.refused(&mut self.runtime.paired);
            }
            self.runtime.emit(PhoneEvent::Disconnected { code, why: end.to_string() }).await;
            let left = goaway.map(|at| at.saturating_duration_since(Instant::now()));
            match self.reconnect.after(end.cause(), stood, left, random::below) {
                ReconnectStep::Stop(why) => break why,
                ReconnectStep::Wait(wait) => {
                    let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                    self.runtime.emit(PhoneEvent::Waiting { ms }).await;
                    if self.runtime.wait(Instant::now() + wait).await.is_err() {
                        break StopReason::Requested;
                    }
                }
            }
        };
        self.runtime.end(stopped).await;
    }

    /// Runs one connection from dialling to its end: why it ended, how long it was authenticated,
    /// and the earliest time of the next.
    async fn run_connection(&mut self) -> (ConnectionEnd, Duration, Option<Instant>) {
        let connecting =
            tokio::time::timeout(CONNECT_LIMIT, connect(&self.runtime.roots, &self.runtime.paired));
        let stopping = self.runtime.stopping.clone();
        let (socket, welcome) = tokio::select! {
            biased;
            () = stopping.cancelled() => return (ConnectionEnd::Stopping, Duration::ZERO, None),
            connected = connecting => match connected {
                Ok(Ok(connected)) => connected,
                Ok(Err(end)) => return (end, Duration::ZERO, None),
                Err(_) => return (ConnectionEnd::TooSlow, Duration::ZERO, None),
            },
        };
        let since = Instant::now();
        self.runtime.rotation.welcomed();
        let mut transport = SocketTransport { socket: Some(socket), end: None };
        self.runtime.emit(PhoneEvent::Connected { connection_id: welcome.connection_id }).await;
        let effects = self.runtime.app.connected();
        self.runtime.perform(effects, &mut transport).await;
        let (end, goaway) = self.serve_connection(&mut transport, welcome).await;
        if let (ConnectionEnd::Stopping | ConnectionEnd::GoneAway, Some(socket)) =
            (&end, transport.socket)
        {
            socket.close().await;
        }
        // Zero would mean that there was no welcome.
        (end, since.elapsed().max(Duration::from_nanos(1)), goaway)
    }

    /// Serves relay and person until the socket ends.
    async fn serve_connection(
        &mut self,
        transport: &mut SocketTransport,
        welcome: Welcome,
    ) -> (ConnectionEnd, Option<Instant>) {
        let silence = Duration::from_secs(welcome.heartbeat_s.max(1)) * SILENT_HEARTBEATS;
        let silent = tokio::time::sleep(silence);
        tokio::pin!(silent);
        let mut goaway: Option<Instant> = None;
        let stopping = self.runtime.stopping.clone();
        loop {
            if let Some(end) = transport.end.take() {
                return (end, goaway);
            }
            let Some(socket) = &mut transport.socket else {
                return (ConnectionEnd::Broken, goaway);
            };
            let leave_at = goaway.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                () = stopping.cancelled() => return (ConnectionEnd::Stopping, goaway),
                read = socket.next_frame() => match read {
                    Ok(RelayFrame::Reauth { nonce, .. }) => {
                        let (key, device_id) = (&self.runtime.paired.key, self.runtime.paired.device_id);
                        match socket.prove(key, device_id, &nonce).await {
                            Ok(()) => self.runtime.emit(PhoneEvent::Reauthenticated).await,
                            Err(end) => return (ConnectionEnd::Relay(end), goaway),
                        }
                    }
                    Ok(RelayFrame::Goaway { reconnect_in_ms }) => {
                        goaway = Some(Instant::now() + Duration::from_millis(reconnect_in_ms));
                        self.runtime.emit(PhoneEvent::GoingAway { reconnect_in_ms }).await;
                    }
                    Ok(frame) => {
                        let effects = self.runtime.app.frame(frame);
                        self.runtime.perform(effects, transport).await;
                    }
                    // A newer relay may send frames that this app does not know.
                    Err(SocketEnd::Frame(_)) => {}
                    Err(end) => return (ConnectionEnd::Relay(end), goaway),
                },
                event = self.runtime.next_local_event() => self.runtime.handle(event, transport).await,
                () = tokio::time::sleep_until(leave_at), if goaway.is_some() => {
                    return (ConnectionEnd::GoneAway, goaway);
                }
                () = &mut silent => {
                    let heard = socket.heard();
                    if heard.elapsed() >= silence {
                        return (ConnectionEnd::Silent, goaway);
                    }
                    silent.as_mut().reset(heard + silence);
                }
            }
        }
    }
}

impl SocketTransport {
    fn end_with(&mut self, end: ConnectionEnd) {
        self.socket = None;
        self.end.get_or_insert(end);
    }
}

impl super::runtime::FrameTransport for SocketTransport {
    /// Answers come as frames of their own.
    async fn send(&mut self, _: &Paired, frame: &DeviceFrame) -> Option<RelayFrame> {
        if let Some(socket) = &mut self.socket
            && let Err(end) = socket.send(frame).await
        {
            self.end_with(ConnectionEnd::Relay(end));
        }
        None
    }

    fn break_connection(&mut self) {
        self.end_with(ConnectionEnd::Broken);
    }
}

async fn connect(roots: &Roots, paired: &Paired) -> Result<(Socket, Welcome), ConnectionEnd> {
    let socket = Socket::connect_trusting(roots, &paired.socket_url).await;
    let mut socket = socket.map_err(ConnectionEnd::Connect)?;
    let welcome =
        socket.authenticate(&paired.key, paired.device_id).await.map_err(ConnectionEnd::Relay)?;
    Ok((socket, welcome))
}
