//! What initiator, watchers, phone and FIDO2 server saw of one ceremony, in the order in which they
//! saw it. Nothing is decided here.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fido_relay::fault_point::Point;
use fido_relay_proto::http::Status;
use fido_relay_proto::{AttemptId, CeremonyId, Outcome};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::watch::roads::{Road, Told};

/// Nothing that a run waits for takes longer, also on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The initiator got 201.
    Opened(CeremonyId),
    /// The initiator asked, and got this; `None`: 404.
    Read(CeremonyId, Option<Status>),
    /// The phone got the offer.
    Offered(CeremonyId),
    /// The phone sent the right code.
    Claimed(CeremonyId),
    /// The phone got this challenge.
    Challenged { id: CeremonyId, attempt: AttemptId, challenge: String },
    /// The phone sent the card's answer.
    Answered { id: CeremonyId, attempt: AttemptId },
    /// The phone learned that its answer is stored.
    Accepted { id: CeremonyId, attempt: AttemptId },
    /// The phone learned the end.
    ToldEnd { id: CeremonyId, outcome: Outcome },
    /// The FIDO2 server made a challenge in a session of its own.
    Begun { session: String, challenge: String },
    /// The FIDO2 server got an answer to a challenge, and said ok or never anything.
    Completed { session: String, challenge: String, said_ok: bool },
    /// A watcher on this road got this event.
    Watched(Road, Told),
    /// The relay was killed, at this step or at a moment of chance.
    Killed(Option<Point>),
    /// The relay serves again.
    Restarted,
    /// What is stored in the end: the outcome, if there is one, and the answer that was accepted.
    Stored { id: CeremonyId, outcome: Option<Outcome>, accepted: Option<AttemptId> },
}

/// Where all of them write. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    seen: Mutex<Vec<Seen>>,
    more: Notify,
}

impl Recorder {
    pub(super) fn write(&self, seen: Seen) {
        self.inner.seen.lock().unwrap().push(seen);
        self.inner.more.notify_waiters();
    }

    pub(super) fn history(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// The last event that a watcher got on this road.
    pub(super) fn last_watched(&self, road: Road) -> Option<Told> {
        self.inner.seen.lock().unwrap().iter().rev().find_map(|seen| match seen {
            Seen::Watched(on, told) if *on == road => Some(told.clone()),
            _ => None,
        })
    }

    /// Waits until something that fits was seen.
    pub(super) async fn until(&self, what: &str, fits: impl Fn(&Seen) -> bool) {
        let wait = async {
            loop {
                let more = self.inner.more.notified();
                if self.inner.seen.lock().unwrap().iter().any(&fits) {
                    return;
                }
                more.await;
            }
        };
        let found = timeout(PATIENCE, wait).await;
        assert!(found.is_ok(), "{what} was not seen in {:#?}", self.history());
    }
}
