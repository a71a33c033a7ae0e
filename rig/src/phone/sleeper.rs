//! The task of a phone that holds no socket: it sleeps, is woken through its push service, asks the
//! relay over HTTP what there is, and sleeps again once nothing is open. Everything that decides
//! lives in [`super::app`], which is the same as over a socket.

use std::fmt;
use std::time::Duration;

use fido_relay_proto::http::Pulled;
use fido_relay_proto::{CeremonyId, DeviceFrame, RelayFrame};
use futures::future::BoxFuture;
use serde::Deserialize;
use tokio::time::Instant;

use super::event::{PhoneEvent, Stopped};
use super::hands::{Hands, Line};
use super::pairing::Paired;
use super::pull::{PullClient, PullError, PullOrder};
use super::receiver::Subscription;
use super::reconnect::{Cause, Next, Reconnect};
use fido_relay_kit::random;

/// How long the relay may hold a request while something is on the screen.
const WAIT_S: u64 = 25;
/// An answer that says nothing new and came sooner than this was not held: the relay is about to
/// stop, and is not asked again at once.
const HELD: Duration = Duration::from_secs(1);

/// Where a phone sleeps: how it is woken, and how it then asks.
#[derive(Debug)]
pub struct Bed {
    /// What its push service brings.
    pub subscription: Subscription,
    /// What it calls the relay with. Many phones may share one.
    pub client: PullClient,
}

/// What a notification carries once it is decrypted.
#[derive(Deserialize)]
struct Wake {
    wake: String,
    body: String,
}

/// Why the phone asks no more.
enum End {
    /// The relay could not be asked.
    Failed(PullError),
    /// The phone broke the line, as by a fault.
    Broken,
    Stopping,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Broken => f.write_str("the phone broke the line"),
            Self::Stopping => f.write_str("the phone stops"),
        }
    }
}

/// The HTTP road as a line: what a request is answered comes with it.
struct Road {
    client: PullClient,
    end: Option<End>,
    /// Whether the relay has answered anything.
    answered: bool,
}

impl Line for Road {
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
                self.end = Some(End::Failed(error));
                None
            }
        }
    }

    fn breaks(&mut self) {
        self.end.get_or_insert(End::Broken);
    }
}

/// A request for news that is under way.
struct Asking {
    answer: BoxFuture<'static, Result<Pulled, PullError>>,
    shown: Vec<CeremonyId>,
    began: Instant,
}

/// A phone that sleeps.
pub(super) struct Sleeper {
    hands: Hands,
    reconnect: Reconnect,
    subscription: Subscription,
    client: PullClient,
    /// Whether the relay has the push address.
    registered: bool,
}

impl Sleeper {
    pub(super) fn new(hands: Hands, reconnect: Reconnect, bed: Bed) -> Self {
        let Bed { subscription, client } = bed;
        Self { hands, reconnect, subscription, client, registered: false }
    }

    pub(super) async fn run(mut self) {
        let stopped = loop {
            let began = Instant::now();
            let mut road = Road { client: self.client.clone(), end: None, answered: false };
            let end = loop {
                if let Err(end) = self.wakes(&mut road).await {
                    break end;
                }
                self.hands.tell(PhoneEvent::Asleep).await;
                if let Err(end) = self.sleeps(&mut road).await {
                    break end;
                }
            };
            if let Some(why) = self.is_for_good(&end) {
                if let End::Failed(error) = &end {
                    self.hands.tell(disconnected(error.to_string())).await;
                }
                break why;
            }
            if matches!(end, End::Failed(PullError::Refused { status: 401, .. })) {
                self.hands.rotation.refused(&mut self.hands.paired);
            }
            self.hands.tell(disconnected(end.to_string())).await;
            let stood = if road.answered { began.elapsed() } else { Duration::ZERO };
            match self.reconnect.after(cause(&end), stood, None, random::below) {
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

    /// Whether trying again is of no use.
    fn is_for_good(&self, end: &End) -> Option<Stopped> {
        match end {
            End::Stopping => Some(Stopped::Told),
            // A relay without push services, or one that knows none of this kind.
            End::Failed(PullError::Refused { status: 404 | 422 | 501, .. }) if !self.registered => {
                Some(Stopped::NoPush)
            }
            End::Failed(_) | End::Broken => None,
        }
    }

    /// Awake until nothing is open.
    async fn wakes(&mut self, road: &mut Road) -> Result<(), End> {
        let stopping = self.hands.stopping.clone();
        if !self.registered {
            let target = Some(self.subscription.target().clone());
            let setting = self.client.set_push(&self.hands.paired, target);
            let set = stopping.run_until_cancelled(setting).await;
            set.ok_or(End::Stopping)?.map_err(End::Failed)?;
            (self.registered, road.answered) = (true, true);
            self.hands.rotation.welcomed();
        }
        let acts = self.hands.app.connected();
        self.hands.perform(acts, road).await;
        let mut since = None;
        // Whether the relay was asked after the last wake.
        let mut is_fresh = false;
        let mut asking = self.asks(&since, Duration::ZERO);
        loop {
            if let Some(end) = road.end.take() {
                return Err(end);
            }
            if is_fresh && self.hands.app.is_idle() {
                return Ok(());
            }
            if asking.shown != self.hands.app.shown() {
                asking = self.asks(&since, Duration::ZERO);
            }
            tokio::select! {
                biased;
                () = stopping.cancelled() => return Err(End::Stopping),
                pulled = &mut asking.answer => {
                    let Pulled { frames, state } = pulled.map_err(End::Failed)?;
                    (road.answered, is_fresh) = (true, true);
                    self.hands.rotation.welcomed();
                    for frame in frames {
                        let acts = self.hands.app.frame(frame);
                        self.hands.perform(acts, road).await;
                    }
                    let is_news = since.as_ref() != Some(&state);
                    let was_held = asking.began.elapsed() >= HELD;
                    since = Some(state);
                    let pause = if is_news || was_held { Duration::ZERO } else { HELD };
                    asking = self.asks(&since, pause);
                }
                text = self.subscription.next() => if self.is_wake(&text).await {
                    is_fresh = false;
                    asking = self.asks(&since, Duration::ZERO);
                },
                happened = self.hands.happens() => self.hands.follow(happened, road).await,
            }
        }
    }

    /// Asleep until there is a reason to be awake: a wake, or the person at the app.
    async fn sleeps(&mut self, road: &mut Road) -> Result<(), End> {
        let stopping = self.hands.stopping.clone();
        loop {
            if let Some(end) = road.end.take() {
                return Err(end);
            }
            if !self.hands.app.is_idle() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = stopping.cancelled() => return Err(End::Stopping),
                text = self.subscription.next() => if self.is_wake(&text).await {
                    return Ok(());
                },
                happened = self.hands.happens() => self.hands.follow(happened, road).await,
            }
        }
    }

    /// Asks for another state than the one that is known; for the first at once.
    fn asks(&self, since: &Option<String>, pause: Duration) -> Asking {
        let shown = self.hands.app.shown();
        // Nothing on the screen: there is nothing to wait for.
        let wait_s = if shown.is_empty() { 0 } else { WAIT_S };
        let order = PullOrder { wait_s, since: since.clone(), shown: shown.clone() };
        let (client, paired) = (self.client.clone(), self.hands.paired.clone());
        let answer = Box::pin(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            client.pull(&paired, order).await
        });
        Asking { answer, shown, began: Instant::now() }
    }

    /// Whether a notification is a wake; then it becomes an event.
    async fn is_wake(&mut self, text: &str) -> bool {
        let Ok(Wake { wake, body }) = serde_json::from_str(text) else { return false };
        self.hands.tell(PhoneEvent::Woken { wake, body }).await;
        true
    }
}

fn disconnected(why: String) -> PhoneEvent {
    PhoneEvent::Disconnected { code: None, why }
}

fn cause(end: &End) -> Cause {
    match end {
        // As a socket is closed whose proof is not good.
        End::Failed(PullError::Refused { status: 401, .. }) => Cause::Closed(Some(4401)),
        End::Failed(PullError::Refused { status, retry_after_s, .. }) => {
            Cause::Refused { status: *status, retry_after_s: *retry_after_s }
        }
        End::Failed(PullError::Unreachable(_) | PullError::Unreadable(_) | PullError::Key(_))
        | End::Broken
        | End::Stopping => Cause::Lost,
    }
}
