//! Simulated phones in this process: pairing and connecting many.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay_kit::tasks::Tasks;
use fido_relay_proto::http::OpenCeremony;
use fido_relay_proto::life::PriorAuth;
use fido_relay_proto::{CeremonyType, DeviceId, Username};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::Notify;

use super::child::RelayUnderTest;
use super::report::Progress;
use crate::command::Failure;
use crate::phone::{Codes, DeviceKey, Paired, PairingClient, Phone, PhoneEvent};
use crate::softcard::SoftCard;

const PAIRINGS: usize = 32;
/// Concurrent dials: fewer than the relay's limit of unauthenticated sockets of an address.
const DIALLING: usize = 256;
/// Time without a new connection after which connecting has failed.
const STUCK: Duration = Duration::from_secs(30);

pub(super) fn username(number: usize) -> Result<Username, Failure> {
    format!("bench-{number:06}").try_into().map_err(Failure::failed)
}

/// A ceremony of this user, who has proved a password.
pub(super) fn opening(user: usize, ceremony_type: CeremonyType) -> Result<OpenCeremony, Failure> {
    let body = OpenCeremony::new(ceremony_type, username(user)?);
    Ok(OpenCeremony { prior_auth: PriorAuth::Password, ..body })
}

/// Pairs phones, each of a user of its own.
pub(super) async fn paired(server: &RelayUnderTest, count: usize) -> Result<Vec<Paired>, Failure> {
    let progress = Progress::new("pairing", count);
    let client = PairingClient::new().map_err(Failure::failed)?;
    let pairing = async |number: usize| -> Result<Paired, Failure> {
        let opened = server.initiator.open_pairing(username(number)?).await;
        let token = opened.map_err(Failure::failed)?.pairing_token;
        let key = DeviceKey::generate().map_err(Failure::failed)?;
        let paired = client.pair(&server.url, &token, None, key).await.map_err(Failure::failed)?;
        progress.step();
        Ok(paired)
    };
    let paired = stream::iter(0..count).map(pairing).buffered(PAIRINGS).try_collect().await;
    progress.end();
    paired
}

/// Phones that hold their sockets.
#[derive(Debug, Default)]
pub(super) struct ConnectedPhones {
    pub(super) codes: Codes,
    online: Arc<ConnectionCounts>,
}

#[derive(Debug, Default)]
struct ConnectionCounts {
    count: AtomicUsize,
    lost: AtomicUsize,
    changed: Notify,
}

impl ConnectionCounts {
    fn count_event(&self, event: &PhoneEvent) {
        match event {
            PhoneEvent::Connected { .. } => self.count.fetch_add(1, Ordering::Relaxed),
            PhoneEvent::Disconnected { .. } => self.lost.fetch_add(1, Ordering::Relaxed),
            PhoneEvent::Asleep
            | PhoneEvent::Woken { .. }
            | PhoneEvent::Reauthenticated
            | PhoneEvent::Noticed(_)
            | PhoneEvent::KeyRotated
            | PhoneEvent::KeyKept { .. }
            | PhoneEvent::Offered { .. }
            | PhoneEvent::Claimed { .. }
            | PhoneEvent::Challenged { .. }
            | PhoneEvent::Card { .. }
            | PhoneEvent::Answered { .. }
            | PhoneEvent::Accepted { .. }
            | PhoneEvent::Declined { .. }
            | PhoneEvent::Closed { .. }
            | PhoneEvent::Refused { .. }
            | PhoneEvent::GoingAway { .. }
            | PhoneEvent::Waiting { .. }
            | PhoneEvent::TimedOut { .. }
            | PhoneEvent::Stopped(_) => return,
        };
        self.changed.notify_one();
    }
}

impl ConnectedPhones {
    /// Connects phones and waits until all are welcomed.
    pub(super) async fn connect(&self, phones: Vec<Paired>, tasks: &Tasks) -> Result<(), Failure> {
        let progress = Progress::new("connecting", phones.len());
        let before = self.online.count.load(Ordering::Relaxed);
        for (dialled, paired) in phones.into_iter().enumerate() {
            let needed = (before + dialled + 1).saturating_sub(DIALLING);
            self.wait_for(needed, &progress, before).await?;
            let online = Arc::clone(&self.online);
            let card = Arc::new(Mutex::new(SoftCard::new()));
            let callback = move |_: DeviceId, event: PhoneEvent| online.count_event(&event);
            Phone::new(paired, card, Arc::new(self.codes.clone()))
                .connect_with(tasks, Arc::new(callback));
        }
        self.wait_for(before + progress.total(), &progress, before).await?;
        progress.end();
        Ok(())
    }

    /// Connections that were lost or failed.
    pub(super) fn lost(&self) -> usize {
        self.online.lost.load(Ordering::Relaxed)
    }

    async fn wait_for(
        &self,
        needed: usize,
        progress: &Progress,
        before: usize,
    ) -> Result<(), Failure> {
        loop {
            let online = self.online.count.load(Ordering::Relaxed);
            progress.at(online - before);
            if online >= needed {
                return Ok(());
            }
            if tokio::time::timeout(STUCK, self.online.changed.notified()).await.is_err() {
                return Err(Failure::failed(format!(
                    "{online} phones are connected and {} tries failed (does `ulimit -n` allow so \
                     many sockets, for both processes?)",
                    self.lost(),
                )));
            }
        }
    }
}
