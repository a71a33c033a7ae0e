//! Many idle phones at once: pairs them, holds their sockets or lets them sleep, and counts events.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fido_relay_kit::tasks::Tasks;
use fido_relay_proto::{DeviceId, PlainText};
use futures::stream::{self, StreamExt as _};
use tokio::sync::Notify;
use url::Url;

use super::screen::Screen;
use super::{STOP_LIMIT, failed};
use crate::command::{Failure, counted};
use crate::phone::{
    Codes, DeviceKey, Paired, PairingClient, PairingError, PairingLink, Phone, PhoneEvent,
    PullClient, PushReceiver, WakeChannel,
};
use crate::softcard::SoftCard;

/// Concurrent pairings, which a relay limits by address.
const PAIRINGS: usize = 8;
/// Pause after a pairing was rate-limited.
const TOO_FAST: Duration = Duration::from_secs(1);
const SUMMARY: Duration = Duration::from_secs(10);

/// Event counts over all phones.
#[derive(Debug, Default)]
pub(super) struct FleetCounts {
    online: Mutex<HashSet<DeviceId>>,
    asleep: Mutex<HashSet<DeviceId>>,
    wakes: AtomicU64,
    connects: AtomicU64,
    disconnects: AtomicU64,
    offers: AtomicU64,
    challenges: AtomicU64,
    answers: AtomicU64,
    closed: AtomicU64,
    stopped: AtomicU64,
    changed: Notify,
}

impl FleetCounts {
    pub(super) fn count(&self, device: DeviceId, event: &PhoneEvent) {
        let counter = match event {
            PhoneEvent::Connected { .. } => {
                self.online().insert(device);
                self.changed.notify_one();
                &self.connects
            }
            PhoneEvent::Disconnected { .. } => {
                self.online().remove(&device);
                self.asleep().remove(&device);
                &self.disconnects
            }
            PhoneEvent::Stopped(_) => {
                self.online().remove(&device);
                self.asleep().remove(&device);
                self.changed.notify_one();
                &self.stopped
            }
            PhoneEvent::Offered { .. } => &self.offers,
            PhoneEvent::Challenged { .. } => &self.challenges,
            PhoneEvent::Answered { .. } => &self.answers,
            PhoneEvent::Closed { .. } => &self.closed,
            PhoneEvent::Reauthenticated
            | PhoneEvent::Noticed(_)
            | PhoneEvent::KeyRotated
            | PhoneEvent::KeyKept { .. }
            | PhoneEvent::Claimed { .. }
            | PhoneEvent::Card { .. }
            | PhoneEvent::Accepted { .. }
            | PhoneEvent::Declined { .. }
            | PhoneEvent::TimedOut { .. }
            | PhoneEvent::Refused { .. }
            | PhoneEvent::GoingAway { .. }
            | PhoneEvent::Waiting { .. } => return,
            PhoneEvent::Asleep => {
                self.asleep().insert(device);
                self.changed.notify_one();
                return;
            }
            PhoneEvent::Woken { .. } => {
                self.asleep().remove(&device);
                &self.wakes
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn online(&self) -> std::sync::MutexGuard<'_, HashSet<DeviceId>> {
        self.online.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asleep(&self) -> std::sync::MutexGuard<'_, HashSet<DeviceId>> {
        self.asleep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Phones that are connected, asleep or given up.
    fn settled(&self) -> u64 {
        let there = self.online().len() + self.asleep().len();
        there as u64 + self.stopped.load(Ordering::Relaxed)
    }
}

impl fmt::Display for FleetCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |counter: &AtomicU64, one, many| {
            let number = usize::try_from(counter.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
            counted(number, one, many)
        };
        write!(f, "{} online", self.online().len())?;
        let wakes = read(&self.wakes, "wake", "wakes");
        if !self.asleep().is_empty() || self.wakes.load(Ordering::Relaxed) > 0 {
            write!(f, ", {} asleep, {wakes}", self.asleep().len())?;
        }
        write!(
            f,
            "; {}, {}, {}; {}, {}, {}, {}",
            read(&self.connects, "connect", "connects"),
            read(&self.disconnects, "disconnect", "disconnects"),
            read(&self.stopped, "given up", "given up"),
            read(&self.offers, "offer", "offers"),
            read(&self.challenges, "challenge", "challenges"),
            read(&self.answers, "answer", "answers"),
            read(&self.closed, "ended", "ended"),
        )
    }
}

pub(super) struct Fleet<'a> {
    pub(super) size: usize,
    /// A file with one pairing link a line.
    pub(super) pairings: &'a Path,
    pub(super) name: PlainText<64>,
    /// Replaces the relays of the links.
    pub(super) relay: Option<&'a Url>,
    /// Percentage that sleeps.
    pub(super) asleep_share: u8,
}

/// Whether the phone of this number sleeps; sleepers are spread evenly over the fleet.
pub(super) fn sleeps(number: usize, share: u8) -> bool {
    let share = usize::from(share);
    (number + 1) * share / 100 > number * share / 100
}

/// Pairs and runs `size` phones until interrupted. No state is saved, so the next fleet needs new
/// links.
pub(super) async fn run(fleet: Fleet<'_>, screen: &Screen, tasks: &Tasks) -> Result<(), Failure> {
    let Fleet { size, pairings, name, relay, asleep_share } = fleet;
    let text = std::fs::read_to_string(pairings)
        .map_err(|error| Failure::usage(format_args!("{}: {error}", pairings.display())))?;
    let links = links(&text, size)
        .map_err(|error| Failure::usage(format_args!("{}: {error}", pairings.display())))?;
    let client = PairingClient::new().map_err(failed)?;
    let mut paired = stream::iter(links)
        .map(|link| pair_one(&client, link, name.clone(), relay))
        .buffer_unordered(PAIRINGS);
    let counts = Arc::new(FleetCounts::default());
    let codes = Arc::new(Codes::default());
    let receiver = PushReceiver::listen(tasks).await.map_err(failed)?;
    let (calls, mut number) = (PullClient::from(&client), 0);
    while let Some(paired) = paired.next().await {
        let counting = Arc::clone(&counts);
        let card = Arc::new(Mutex::new(SoftCard::new()));
        let mut phone = Phone::new(paired?, card, codes.clone());
        if sleeps(number, asleep_share) {
            let subscription = receiver.subscribe().map_err(failed)?;
            phone = phone.asleep(WakeChannel { subscription, client: calls.clone() });
        }
        phone.connect_with(tasks, Arc::new(move |device, event| counting.count(device, &event)));
        number += 1;
    }
    screen.say(&format!("{} paired. Ctrl-C ends.", counted(size, "phone", "phones")));
    while counts.settled() < size as u64 {
        tokio::select! {
            () = counts.changed.notified() => {}
            () = tokio::time::sleep(SUMMARY) => screen.say(&counts.to_string()),
            _ = tokio::signal::ctrl_c() => return end(&counts, screen, tasks).await,
        }
    }
    loop {
        screen.say(&counts.to_string());
        tokio::select! {
            () = tokio::time::sleep(SUMMARY) => {}
            _ = tokio::signal::ctrl_c() => return end(&counts, screen, tasks).await,
        }
    }
}

async fn end(counts: &FleetCounts, screen: &Screen, tasks: &Tasks) -> Result<(), Failure> {
    screen.say(&counts.to_string());
    tasks.stop(STOP_LIMIT).await;
    Ok(())
}

/// The first `size` links of the file; blank lines are skipped.
pub(super) fn links(text: &str, size: usize) -> Result<Vec<PairingLink>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let links: Vec<PairingLink> = lines
        .take(size)
        .map(|(index, line)| line.parse().map_err(|error| format!("line {}: {error}", index + 1)))
        .collect::<Result<_, String>>()?;
    if links.len() < size {
        let links = counted(links.len(), "link", "links");
        return Err(format!("{links} for a fleet of {size}"));
    }
    Ok(links)
}

async fn pair_one(
    client: &PairingClient,
    link: PairingLink,
    name: PlainText<64>,
    relay: Option<&Url>,
) -> Result<Paired, Failure> {
    let key = DeviceKey::generate().map_err(failed)?;
    let relay = relay.unwrap_or(&link.relay);
    loop {
        match client.pair(relay, &link.token, Some(name.clone()), key.clone()).await {
            // A fleet pairs from one address and faster than phones would.
            Err(PairingError::Refused { status: 429, .. }) => {
                tokio::time::sleep(TOO_FAST).await;
            }
            paired => return paired.map_err(failed),
        }
    }
}
