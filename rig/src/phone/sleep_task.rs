//! The task of a phone without a socket: it sleeps, is woken by its push service, pulls over HTTP, and
//! sleeps again once no prompt is open. [`super::app`] decides, as it does over a socket.

use std::fmt;
use std::time::Duration;

use fido_relay_kit::random;
use fido_relay_proto::http::Pulled;
use fido_relay_proto::{CeremonyId, DeviceFrame, RelayFrame};
use futures::future::BoxFuture;
use serde::Deserialize;
use tokio::time::Instant;

use super::event::{PhoneEvent, StopReason};
use super::pairing::Paired;
use super::pull::{PullClient, PullError, PullRequest};
use super::receiver::PushSubscription;
use super::reconnect::{DisconnectCause, Reconnect, ReconnectStep};
use super::runtime::{FrameTransport, PhoneRuntime};

/// Seconds that the relay may hold a pull while a prompt is on the screen.
const WAIT_S: u64 = 25;
/// A pull that brought no change in less time was not held, as by a relay that stops: the next one
/// waits this long.
const HELD: Duration = Duration::from_secs(1);

/// How a sleeping phone is woken, and how it then calls the relay.
#[derive(Debug)]
pub struct WakeChannel {
    pub subscription: PushSubscription,
    /// May be shared by many phones.
    pub client: PullClient,
}

/// The decrypted text of a push message.
#[derive(Deserialize)]
struct WakePayload {
    wake: String,
    body: String,
}

enum AwakeEnd {
    Failed(PullError),
    /// By a fault of the phone.
    Broken,
    Stopping,
}

impl fmt::Display for AwakeEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Broken => f.write_str("the phone broke the line"),
            Self::Stopping => f.write_str("the phone stops"),
        }
    }
}

/// Frames as HTTP requests; the answer comes with the response.
struct PullTransport {
    client: PullClient,
    end: Option<AwakeEnd>,
    /// Whether the relay has answered any request.
    answered: bool,
}

impl FrameTransport for PullTransport {
    async fn send(&mut self, paired: &Paired, frame: &DeviceFrame) -> Option<RelayFrame> {
        if self.end.is_some() {
            return None;
        }
        match self.client.send(paired, frame).await {
            Ok(answer) => {
                self.answered = true;
                answer
            }
            Err(error) => {
                self.end = Some(AwakeEnd::Failed(error));
                None
            }
        }
    }

    fn break_connection(&mut self) {
        self.end.get_or_insert(AwakeEnd::Broken);
    }
}

/// A pull under way.
struct PendingPull {
    answer: BoxFuture<'static, Result<Pulled, PullError>>,
    shown: Vec<CeremonyId>,
    began: Instant,
}

pub(super) struct SleepTask {
    runtime: PhoneRuntime,
    reconnect: Reconnect,
    subscription: PushSubscription,
    client: PullClient,
    /// Whether the relay has the push address.
    registered: bool,
}

impl SleepTask {
    pub(super) fn new(
        runtime: PhoneRuntime,
        reconnect: Reconnect,
        wake_channel: WakeChannel,
    ) -> Self {
        let WakeChannel { subscription, client } = wake_channel;
        Self { runtime, reconnect, subscription, client, registered: false }
    }

    pub(super) async fn run(mut self) {
        let stopped = loop {
            let began = Instant::now();
            let mut transport =
                PullTransport { client: self.client.clone(), end: None, answered: false };
            let end = loop {
                if let Err(end) = self.stay_awake(&mut transport).await {
                    break end;
                }
                self.runtime.emit(PhoneEvent::Asleep).await;
                if let Err(end) = self.stay_asleep(&mut transport).await {
                    break end;
                }
            };
            if let Some(why) = self.stop_reason(&end) {
                if let AwakeEnd::Failed(error) = &end {
                    self.runtime.emit(disconnected(error.to_string())).await;
                }
                break why;
            }
            if matches!(end, AwakeEnd::Failed(PullError::Refused { status: 401, .. })) {
                self.runtime.rotation.refused(&mut self.runtime.paired);
            }
            self.runtime.emit(disconnected(end.to_string())).await;
            let stood = if transport.answered { began.elapsed() } else { Duration::ZERO };
            match self.reconnect.after(cause(&end), stood, None, random::below) {
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

    /// The reason to give up, if a retry cannot help.
    fn stop_reason(&self, end: &AwakeEnd) -> Option<StopReason> {
        match end {
            AwakeEnd::Stopping => Some(StopReason::Requested),
            // The relay has no push service, or none of this kind.
            AwakeEnd::Failed(PullError::Refused { status: 404 | 422 | 501, .. })
                if !self.registered =>
            {
                Some(StopReason::NoPush)
            }
            AwakeEnd::Failed(_) | AwakeEnd::Broken => None,
        }
    }

    /// Pulls until no prompt is open.
    async fn stay_awake(&mut self, transport: &mut PullTransport) -> Result<(), AwakeEnd> {
        let stopping = self.runtime.stopping.clone();
        if !self.registered {
            let target = Some(self.subscription.target().clone());
            let setting = self.client.set_push(&self.runtime.paired, target);
            let set = stopping.run_until_cancelled(setting).await;
            set.ok_or(AwakeEnd::Stopping)?.map_err(AwakeEnd::Failed)?;
            (self.registered, transport.answered) = (true, true);
            self.runtime.rotation.welcomed();
        }
        let effects = self.runtime.app.connected();
        self.runtime.perform(effects, transport).await;
        let mut since = None;
        // Whether a pull has ended since the last wake.
        let mut is_fresh = false;
        let mut pull = self.start_pull(&since, Duration::ZERO);
        loop {
            if let Some(end) = transport.end.take() {
                return Err(end);
            }
            if is_fresh && self.runtime.app.is_idle() {
                return Ok(());
            }
            if pull.shown != self.runtime.app.shown() {
                pull = self.start_pull(&since, Duration::ZERO);
            }
            tokio::select! {
                biased;
                () = stopping.cancelled() => return Err(AwakeEnd::Stopping),
                pulled = &mut pull.answer => {
                    let Pulled { frames, state } = pulled.map_err(AwakeEnd::Failed)?;
                    (transport.answered, is_fresh) = (true, true);
                    self.runtime.rotation.welcomed();
                    for frame in frames {
                        let effects = self.runtime.app.frame(frame);
                        self.runtime.perform(effects, transport).await;
                    }
                    let is_news = since.as_ref() != Some(&state);
                    let was_held = pull.began.elapsed() >= HELD;
                    since = Some(state);
                    let pause = if is_news || was_held { Duration::ZERO } else { HELD };
                    pull = self.start_pull(&since, pause);
                }
                text = self.subscription.next() => if self.is_wake(&text).await {
                    is_fresh = false;
                    pull = self.start_pull(&since, Duration::ZERO);
                },
                event = self.runtime.next_local_event() => self.runtime.handle(event, transport).await,
            }
        }
    }

    /// Sleeps until a wake, or until the person does something.
    async fn stay_asleep(&mut self, transport: &mut PullTransport) -> Result<(), AwakeEnd> {
        let stopping = self.runtime.stopping.clone();
        loop {
            if let Some(end) = transport.end.take() {
                return Err(end);
            }
            if !self.runtime.app.is_idle() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = stopping.cancelled() => return Err(AwakeEnd::Stopping),
                text = self.subscription.next() => if self.is_wake(&text).await {
                    return Ok(());
                },
                event = self.runtime.next_local_event() => self.runtime.handle(event, transport).await,
            }
        }
    }

    /// Starts a pull that is held until the relay's state differs from `since`.
    fn start_pull(&self, since: &Option<String>, pause: Duration) -> PendingPull {
        let shown = self.runtime.app.shown();
        // Without a prompt on the screen the pull is not held.
        let wait_s = if shown.is_empty() { 0 } else { WAIT_S };
        let request = PullRequest { wait_s, since: since.clone(), shown: shown.clone() };
        let (client, paired) = (self.client.clone(), self.runtime.paired.clone());
        let answer = Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            client.pull(&paired, request).await
        });
        PendingPull { answer, shown, began: Instant::now() }
    }

    /// Whether a push message is a wake, which is emitted as an event.
    async fn is_wake(&mut self, text: &str) -> bool {
        let Ok(WakePayload { wake, body }) = serde_json::from_str(text) else { return false };
        self.runtime.emit(PhoneEvent::Woken { wake, body }).await;
        true
    }
}

fn disconnected(why: String) -> PhoneEvent {
    PhoneEvent::Disconnected { code: None, why }
}

fn cause(end: &AwakeEnd) -> DisconnectCause {
    match end {
        // As a socket is closed for a bad proof.
        AwakeEnd::Failed(PullError::Refused { status: 401, .. }) => {
            DisconnectCause::Closed(Some(4401))
        }
        AwakeEnd::Failed(PullError::Refused { status, retry_after_s, .. }) => {
            DisconnectCause::Refused { status: *status, retry_after_s: *retry_after_s }
        }
        AwakeEnd::Failed(
            PullError::Unreachable(_) | PullError::Unreadable(_) | PullError::Key(_),
        )
        | AwakeEnd::Broken
        | AwakeEnd::Stopping => DisconnectCause::Lost,
    }
}
