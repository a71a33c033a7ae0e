//! The relay's end of one device socket: the frames to be written to it, and the prompts that it
//! was shown.
//!
//! Each connected device costs one of these, so it holds no channel: a queue that allocates nothing
//! while empty, and one wake-up for the task of the socket.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fido_relay_proto::{AttemptId, CeremonyId, ConnectionId, RelayFrame};
use tokio::sync::Notify;

use crate::app::ceremonies::DeviceIdentity;
use crate::core::session::CloseReason;

/// Frames that may wait for a slow device.
pub(super) const OUTBOX_FRAMES: usize = 32;
/// Bytes that may wait for a slow device.
pub const OUTBOX_BYTES: usize = 256 * 1024;

/// A frame that is to be written.
#[derive(Debug)]
pub struct OutgoingFrame {
    pub text: String,
    /// The ceremony that counts as sent once the text is written.
    pub sent: Option<CeremonyId>,
}

/// What a connection was last shown of a ceremony.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Offer,
    /// The offer of a ceremony that a typed code found, on this device alone.
    Preview,
    Challenge(AttemptId),
    /// Nothing new: the relay is at work on what the device gave.
    Wait,
    /// That another device has it.
    Elsewhere,
}

/// What a connection was last shown of one ceremony.
#[derive(Debug)]
struct ShownCeremony {
    ceremony: CeremonyId,
    what: Shown,
    /// Whether the app said that it has it.
    acked: bool,
}

#[derive(Debug, Default)]
struct Outbox {
    queue: VecDeque<OutgoingFrame>,
    bytes: usize,
    shown: Vec<ShownCeremony>,
    /// The number of the last notice that was queued.
    noticed: u64,
    /// Whether the device must sign again now.
    renew: bool,
    closing: Option<CloseReason>,
}

impl Outbox {
    fn push(&mut self, frame: &RelayFrame, sent: Option<CeremonyId>) {
        let text = frame.encode();
        if self.queue.len() >= OUTBOX_FRAMES || self.bytes + text.len() > OUTBOX_BYTES {
            self.closing.get_or_insert(CloseReason::OutboxFull);
        } else {
            self.bytes += text.len();
            self.queue.push_back(OutgoingFrame { text, sent });
        }
    }
}

/// What the socket's task should do next.
#[derive(Debug)]
pub enum ConnectionAction {
    Write(OutgoingFrame),
    Close(CloseReason),
    /// Have the device sign again, now and not when its hour is over.
    Renew,
    Idle,
}

/// One device socket as the relay sees it.
#[derive(Debug)]
pub struct Connection {
    id: ConnectionId,
    identity: DeviceIdentity,
    /// The device's address, where it is known.
    address: Option<IpAddr>,
    outbox: Mutex<Outbox>,
    wake: Notify,
}

impl Connection {
    /// A connection that nothing was shown on yet.
    #[must_use]
    pub fn new(id: ConnectionId, identity: DeviceIdentity) -> Self {
        Self { id, identity, address: None, outbox: Mutex::default(), wake: Notify::new() }
    }

    /// The same of a device at this address.
    #[must_use]
    pub fn at(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// The device's address, where it is known.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        &self.identity
    }

    /// Queues a frame; `sent` names the ceremony that counts as sent once it is written. A device
    /// that does not read its frames loses its socket, and is shown what is open when it returns.
    pub fn send(&self, frame: &RelayFrame, sent: Option<CeremonyId>) {
        self.outbox().push(frame, sent);
        self.wake.notify_one();
    }

    /// Queues notices by their numbers, without those that were queued before. All that there are
    /// come at once: one that is not among them and has a smaller number than the last is never sent.
    pub(super) fn send_notices(&self, notices: impl Iterator<Item = (u64, RelayFrame)>) {
        let mut outbox = self.outbox();
        for (seq, frame) in notices {
            if seq > outbox.noticed {
                outbox.noticed = seq;
                outbox.push(&frame, None);
            }
        }
        drop(outbox);
        self.wake.notify_one();
    }

    /// Asks the socket's task to have the device sign again.
    pub(super) fn renew(&self) {
        self.outbox().renew = true;
        self.wake.notify_one();
    }

    /// Asks the socket's task to close, for the first reason that is given.
    pub fn close(&self, reason: CloseReason) {
        self.outbox().closing.get_or_insert(reason);
        self.wake.notify_one();
    }

    /// What to do next: closing comes before writing.
    #[must_use]
    pub fn next(&self) -> ConnectionAction {
        let mut outbox = self.outbox();
        if let Some(reason) = outbox.closing {
            return ConnectionAction::Close(reason);
        }
        if std::mem::take(&mut outbox.renew) {
            return ConnectionAction::Renew;
        }
        match outbox.queue.pop_front() {
            Some(outgoing) => {
                outbox.bytes -= outgoing.text.len();
                if outbox.queue.is_empty() {
                    // An idle connection keeps no memory for its busy moments.
                    outbox.queue.shrink_to_fit();
                }
                ConnectionAction::Write(outgoing)
            }
            None => ConnectionAction::Idle,
        }
    }

    /// Waits until [`Connection::next`] may have something.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Notes that this is shown now; `true` if it was not before.
    pub(super) fn show(&self, ceremony: CeremonyId, what: Shown) -> bool {
        let mut outbox = self.outbox();
        match outbox.shown.iter_mut().find(|entry| entry.ceremony == ceremony) {
            Some(entry) if entry.what == what => false,
            Some(entry) => {
                entry.what = what;
                true
            }
            None => {
                outbox.shown.push(ShownCeremony { ceremony, what, acked: false });
                true
            }
        }
    }

    /// Forgets a ceremony; returns what was last shown of it.
    pub(super) fn unshow(&self, ceremony: CeremonyId) -> Option<Shown> {
        let mut outbox = self.outbox();
        let at = outbox.shown.iter().position(|entry| entry.ceremony == ceremony)?;
        let entry = outbox.shown.swap_remove(at);
        if outbox.shown.is_empty() {
            outbox.shown.shrink_to_fit();
        }
        Some(entry.what)
    }

    /// What was last shown of a ceremony.
    pub(super) fn shown(&self, ceremony: CeremonyId) -> Option<Shown> {
        let outbox = self.outbox();
        outbox.shown.iter().find(|entry| entry.ceremony == ceremony).map(|found| found.what)
    }

    /// Notes that the app has what it was shown of a ceremony.
    pub(super) fn acked(&self, ceremony: CeremonyId) {
        let mut outbox = self.outbox();
        let shown = outbox.shown.iter_mut().find(|entry| entry.ceremony == ceremony);
        if let Some(entry) = shown {
            entry.acked = true;
        }
    }

    /// Prompts of which the app never said that it has them.
    pub(super) fn unacked(&self) -> Vec<CeremonyId> {
        let is_prompt = |what| matches!(what, Shown::Offer | Shown::Challenge(_));
        let outbox = self.outbox();
        let unacked = outbox.shown.iter().filter(|found| is_prompt(found.what) && !found.acked);
        unacked.map(|found| found.ceremony).collect()
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        // Every change under the lock is complete in itself, so a poisoned one is still good.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
