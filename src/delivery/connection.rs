//! The relay's end of one device socket: what is to be written to it, and what it was shown.
//!
//! An idle phone costs the relay one of these, so it holds no channel: a queue that allocates
//! nothing while empty, and one wake-up for the socket's task. It does not know sockets.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fido_relay_proto::{
    AttemptId, CeremonyId, ConnectionId, DeviceId, RelayFrame, TenantId, Username,
};
use tokio::sync::Notify;

use crate::core::ceremony::Ceremony;
use crate::core::session::CloseReason;

/// Frames that may wait for a slow phone.
pub(crate) const OUTBOX_FRAMES: usize = 32;
/// Bytes that may wait for a slow phone.
pub const OUTBOX_BYTES: usize = 256 * 1024;

/// Whose socket it is.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The device.
    pub device: DeviceId,
    /// Its relying party.
    pub tenant: TenantId,
    /// Its user.
    pub username: Username,
}

impl Owner {
    /// Whether a ceremony is this device's: its user's, and for no other device alone.
    pub(crate) fn has(&self, ceremony: &Ceremony) -> bool {
        let request = &ceremony.request;
        request.username == self.username
            && request.device_id.is_none_or(|only| only == self.device)
    }
}

/// A frame on its way out.
#[derive(Debug)]
pub struct Outgoing {
    /// The text to write.
    pub text: String,
    /// The ceremony that counts as sent once the text is written.
    pub sent: Option<CeremonyId>,
}

/// What a connection was last shown of a ceremony.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The offer.
    Offer,
    /// The offer of a ceremony that a typed code found, on this device alone.
    Preview,
    /// This challenge.
    Challenge(AttemptId),
    /// Nothing new: the relay is at work on what the device gave.
    Wait,
    /// That another device has it.
    Elsewhere,
}

/// A ceremony on a phone's screen.
#[derive(Debug)]
struct Showing {
    ceremony: CeremonyId,
    what: Shown,
    /// Whether the app said that it has it.
    acked: bool,
}

#[derive(Debug, Default)]
struct Mailbox {
    queue: VecDeque<Outgoing>,
    bytes: usize,
    shown: Vec<Showing>,
    /// The number of the last news told here.
    told: u64,
    /// The device must sign again now.
    renew: bool,
    closing: Option<CloseReason>,
}

impl Mailbox {
    fn push(&mut self, frame: &RelayFrame, sent: Option<CeremonyId>) {
        let text = frame.encode();
        if self.queue.len() >= OUTBOX_FRAMES || self.bytes + text.len() > OUTBOX_BYTES {
            self.closing.get_or_insert(CloseReason::OutboxFull);
        } else {
            self.bytes += text.len();
            self.queue.push_back(Outgoing { text, sent });
        }
    }
}

/// What the socket's task should do next.
#[derive(Debug)]
pub enum Next {
    /// Write this.
    Write(Outgoing),
    /// Close, for this reason.
    Close(CloseReason),
    /// Let the device sign again, now and not when its hour is over.
    Renew,
    /// Wait.
    Idle,
}

/// One device socket as the relay sees it.
#[derive(Debug)]
pub struct Connection {
    id: ConnectionId,
    owner: Owner,
    /// Where the phone is, where that is known.
    address: Option<IpAddr>,
    mailbox: Mutex<Mailbox>,
    wake: Notify,
}

impl Connection {
    /// A connection that nothing was shown on yet.
    #[must_use]
    pub fn new(id: ConnectionId, owner: Owner) -> Self {
        Self { id, owner, address: None, mailbox: Mutex::default(), wake: Notify::new() }
    }

    /// The same of a phone at this address.
    #[must_use]
    pub fn at(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Where the phone is, where that is known.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Which socket.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whose.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Queues a frame; `sent` names the ceremony that counts as sent once it is written. A phone
    /// that does not read its frames loses its socket, and gets what is open again when it returns.
    pub fn send(&self, frame: &RelayFrame, sent: Option<CeremonyId>) {
        self.mailbox().push(frame, sent);
        self.wake.notify_one();
    }

    /// Queues news, each with its number, those left out that were told here before. All that
    /// there is to tell comes at once: what is not among them and has a smaller number than the
    /// last is never told.
    pub(crate) fn tell(&self, news: impl Iterator<Item = (u64, RelayFrame)>) {
        let mut mailbox = self.mailbox();
        for (seq, frame) in news {
            if seq > mailbox.told {
                mailbox.told = seq;
                mailbox.push(&frame, None);
            }
        }
        drop(mailbox);
        self.wake.notify_one();
    }

    /// Asks the socket's task to let the device sign again.
    pub(crate) fn renew(&self) {
        self.mailbox().renew = true;
        self.wake.notify_one();
    }

    /// Asks the socket's task to close. The first reason stands.
    pub fn close(&self, reason: CloseReason) {
        self.mailbox().closing.get_or_insert(reason);
        self.wake.notify_one();
    }

    /// What to do next: leaving comes before writing.
    #[must_use]
    pub fn next(&self) -> Next {
        let mut mailbox = self.mailbox();
        if let Some(reason) = mailbox.closing {
            return Next::Close(reason);
        }
        if std::mem::take(&mut mailbox.renew) {
            return Next::Renew;
        }
        match mailbox.queue.pop_front() {
            Some(outgoing) => {
                mailbox.bytes -= outgoing.text.len();
                if mailbox.queue.is_empty() {
                    // An idle phone should not pay for its busy moments.
                    mailbox.queue.shrink_to_fit();
                }
                Next::Write(outgoing)
            }
            None => Next::Idle,
        }
    }

    /// Waits until [`Connection::next`] may have something.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Notes that this is shown now; tells whether it is news to this connection.
    pub(crate) fn show(&self, ceremony: CeremonyId, what: Shown) -> bool {
        let mut mailbox = self.mailbox();
        match mailbox.shown.iter_mut().find(|showing| showing.ceremony == ceremony) {
            Some(showing) if showing.what == what => false,
            Some(showing) => {
                showing.what = what;
                true
            }
            None => {
                mailbox.shown.push(Showing { ceremony, what, acked: false });
                true
            }
        }
    }

    /// Forgets a ceremony; tells what of it was shown here.
    pub(crate) fn unshow(&self, ceremony: CeremonyId) -> Option<Shown> {
        let mut mailbox = self.mailbox();
        let at = mailbox.shown.iter().position(|showing| showing.ceremony == ceremony)?;
        let showing = mailbox.shown.swap_remove(at);
        if mailbox.shown.is_empty() {
            mailbox.shown.shrink_to_fit();
        }
        Some(showing.what)
    }

    /// What was last shown of a ceremony.
    pub(crate) fn shown(&self, ceremony: CeremonyId) -> Option<Shown> {
        let mailbox = self.mailbox();
        mailbox.shown.iter().find(|showing| showing.ceremony == ceremony).map(|found| found.what)
    }

    /// Notes that the app has what it was shown of a ceremony; gives what that is.
    pub(crate) fn acked(&self, ceremony: CeremonyId) -> Option<Shown> {
        let mut mailbox = self.mailbox();
        let showing = mailbox.shown.iter_mut().find(|showing| showing.ceremony == ceremony)?;
        showing.acked = true;
        Some(showing.what)
    }

    /// Prompts of which the app never said that it has them.
    pub(crate) fn unacked(&self) -> Vec<CeremonyId> {
        let is_prompt = |what| matches!(what, Shown::Offer | Shown::Challenge(_));
        let mailbox = self.mailbox();
        let unacked = mailbox.shown.iter().filter(|found| is_prompt(found.what) && !found.acked);
        unacked.map(|found| found.ceremony).collect()
    }

    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        // Every change under the lock is complete in itself, so a poisoned one is still good.
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
