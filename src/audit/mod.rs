//! The audit log: who opened, was asked, answered and was let in, one JSON object a line, each
//! chained to the one before and signed at intervals, appended and never rewritten.
//!
//! ```text
//!  relay ── told: changed, noted ──▶ facts: what is not written yet ──▶ queue ──▶ writer ──▶ log
//!                                      ▲                                            │ flush
//!  store ── start: every ceremony ─────┤                          checkpoint: signed ┘
//!  log ──── start: written ────────────┘
//! ```
//! **Nothing is lost by a crash.** The store is the truth, and a ceremony's record tells every step
//! that it has made. At the start a task of its own, beside serving, reads back what the log says
//! of the last day, goes through the store, and writes what is missing. Until it is done, news of a
//! ceremony that this process did not see from its opening only marks it to be looked at.
//!
//! **A disk that takes nothing.** The queue fills, then ceremonies go on and are marked instead:
//! once there is room, what the store says of them is written. With `required` the relay refuses
//! new approvals meanwhile ([`Ability::Forbidding`]). Events beside ceremonies are not stored
//! anywhere else: what the queue cannot hold of them is counted and lost, and the log says how many.
//!
//! It knows the record of a ceremony and the ports, and nothing of HTTP, sockets or a FIDO2 server.

mod bodies;
mod entry;
mod facts;
mod log;
mod verify;
mod writer;
mod written;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fido_relay_proto::{CeremonyId, UnixMillis};
use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use bodies::{Trail, bodies};
pub use entry::{CHECKPOINT_TYP, Checkpoint};
pub use facts::Writing;
pub use log::segments;
pub use verify::{Fault, Question, Report, known_checkpoint, verify};

use self::facts::Steps;
use self::log::Log;
use self::writer::Writer;
use self::written::Written;
use crate::ceremony::{Ceremony, Event};
use crate::ports::{Ability, Bucket, Clock, SecurityEvent, Store, Stored, Witness, records};
use crate::security::record::RecordSigner;
use crate::tasks::Tasks;

/// Entries that may wait for the writer; then whoever tells more waits, or, while the disk takes
/// nothing, marks.
const QUEUE: usize = 4096;
/// Ended ceremonies that are remembered: news of an end that comes again, comes within seconds.
const ENDED: usize = 16_384;
/// Ceremonies that may be marked to be looked at; beyond, the whole store is gone through.
const MARKED: usize = 65_536;
/// Records that one page of the walk reads.
const PAGE: usize = 256;
/// Pause before a store or a disk that did not answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// For what waits in the queue when the relay stops.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// How the log is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where its files lie; made if missing.
    pub directory: PathBuf,
    /// Whether nothing may be approved while it cannot be written.
    pub required: bool,
    /// Entries from one checkpoint to the next, at most.
    pub checkpoint_entries: u64,
    /// Time from one checkpoint to the next while there are new entries, at most.
    pub checkpoint_every: Duration,
    /// Days that a segment is kept after its last entry; 0: for good.
    pub retention_days: u64,
    /// Whether receipts are written, too.
    pub receipts: bool,
    /// A segment of this size is followed by a new one; `None`: 64 MiB.
    pub segment_bytes: Option<u64>,
}

impl Settings {
    /// The defaults for a directory.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            required: false,
            checkpoint_entries: 1_000,
            checkpoint_every: Duration::from_secs(600),
            retention_days: 0,
            receipts: false,
            segment_bytes: None,
        }
    }
}

/// The audit log of a running relay. Clones are the same.
#[derive(Clone, Debug)]
pub struct Audit {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    required: bool,
    writing: Arc<Writing>,
    store: Arc<dyn Store>,
    started: UnixMillis,
    queue: mpsc::Sender<String>,
    failing: watch::Receiver<bool>,
    lost: Arc<AtomicU64>,
    known: Mutex<Known>,
    /// Something was marked.
    marks: Notify,
    caught_up: CancellationToken,
    tasks: Tasks,
}

/// What this process knows to be written, or on its way to the writer.
#[derive(Debug, Default)]
struct Known {
    steps: HashMap<CeremonyId, Steps>,
    ended: VecDeque<CeremonyId>,
    /// Keys of records to be looked at.
    marked: BTreeSet<String>,
    /// There were more.
    overflowed: bool,
    /// Whether the walk at the start is done.
    complete: bool,
}

impl Known {
    fn keep(&mut self, ceremony: &Ceremony, steps: Steps) {
        let id = ceremony.request.id;
        let before = self.steps.insert(id, steps).unwrap_or_default();
        if steps.are_over() && !before.are_over() {
            self.ended.push_back(id);
            if self.ended.len() > ENDED
                && let Some(oldest) = self.ended.pop_front()
            {
                self.steps.remove(&oldest);
            }
        }
    }
}

fn key(ceremony: &Ceremony) -> String {
    format!("{}.{}", ceremony.request.tenant, ceremony.request.id)
}

/// Who tells of a ceremony.
#[derive(Clone, Copy)]
enum Told {
    /// The relay, of its opening.
    Opening,
    /// The relay, of a change.
    Change,
    /// The walk through the store, or a second look, which knows this to be written.
    Recovery(Steps),
}

impl Audit {
    /// Opens the log and starts its writer. What an earlier process left unwritten is entered
    /// beside this: see [`Audit::caught_up`].
    ///
    /// # Errors
    /// The directory or its files cannot be had.
    pub fn start(
        settings: Settings,
        signer: RecordSigner,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        let segment_bytes = settings.segment_bytes.unwrap_or(log::SEGMENT_BYTES);
        let (mut log, torn) = Log::open(&settings.directory, segment_bytes)?;
        let now = clock.now();
        let mut first = Vec::new();
        if let Some(torn) = torn {
            let (bytes, sha256) = (torn.bytes, torn.sha256);
            tracing::warn!(bytes, "the audit log ended within a line: cut off");
            let body = serde_json::json!({ "event": "repaired", "bytes": bytes, "sha256": sha256 });
            first.push(body.to_string());
        }
        let (version, iss) = (env!("CARGO_PKG_VERSION"), signer.issuer());
        let body = serde_json::json!({ "event": "started", "version": version, "iss": iss });
        first.push(body.to_string());
        log.append(&first, now)?;
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (fails, failing) = watch::channel(false);
        let writing = Arc::new(Writing { signer, receipts: settings.receipts });
        let lost = Arc::new(AtomicU64::new(0));
        let tasks = Tasks::default();
        let writer = Writer {
            log: Some(log),
            queue: waiting,
            writing: Arc::clone(&writing),
            clock,
            failing: fails,
            lost: Arc::clone(&lost),
            closing: tasks.stopping().clone(),
            checkpoint_entries: settings.checkpoint_entries,
            checkpoint_every: settings.checkpoint_every,
            retention_ms: match settings.retention_days {
                0 => None,
                days => Some(days.saturating_mul(24 * 60 * 60 * 1000)),
            },
        };
        tasks.spawn("audit writer", writer.run());
        let audit = Self {
            inner: Arc::new(Inner {
                directory: settings.directory,
                required: settings.required,
                writing,
                store,
                started: now,
                queue,
                failing,
                lost,
                known: Mutex::default(),
                marks: Notify::new(),
                caught_up: CancellationToken::new(),
                tasks,
            }),
        };
        audit.inner.tasks.spawn("audit recovery", audit.clone().catch_up());
        Ok(audit)
    }

    /// Waits until everything that was stored before the start is written, or on its way.
    pub async fn caught_up(&self) {
        self.inner.caught_up.cancelled().await;
    }

    /// Writes what waits, a last checkpoint, and stops. Nothing is told to it afterwards. Tells
    /// whether all of it was written in time.
    pub async fn close(&self) -> bool {
        self.inner.tasks.stop(CLOSE_LIMIT).await && !*self.inner.failing.borrow()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // What a panic left half done is told again by the next walk.
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for a ceremony's entries: waits for it, but not for a disk that takes nothing.
    async fn room(&self) -> Option<mpsc::PermitIterator<'_, String>> {
        let most = Steps::MOST;
        let mut failing = self.inner.failing.clone();
        tokio::select! {
            biased;
            room = self.inner.queue.reserve_many(most) => room.ok(),
            _ = failing.wait_for(|failing| *failing) => {
                self.inner.queue.try_reserve_many(most).ok()
            }
        }
    }

    async fn tell(&self, ceremony: &Ceremony, cause: Option<&Event>, told: Told) {
        let room = self.room().await;
        // Under the lock, so that one ceremony's entries come in one order.
        let mut known = self.known();
        let Some(room) = room else { return self.mark(&mut known, ceremony) };
        let before = match (known.steps.get(&ceremony.request.id).copied(), told) {
            (steps, Told::Recovery(written)) => steps.unwrap_or_default().and(written),
            (Some(steps), Told::Opening | Told::Change) => steps,
            (None, Told::Opening) => Steps::default(),
            (None, Told::Change) if known.complete => Steps::default(),
            (None, Told::Change) => return self.mark(&mut known, ceremony),
        };
        let recovered = matches!(told, Told::Recovery(_));
        let (bodies, steps) =
            facts::missing(ceremony, cause, before, recovered, &self.inner.writing);
        known.keep(ceremony, steps);
        for (permit, body) in room.zip(bodies) {
            permit.send(body);
        }
    }

    async fn tell_security(&self, event: &SecurityEvent) {
        let body = event.entry();
        let mut failing = self.inner.failing.clone();
        let sent = tokio::select! {
            biased;
            sent = self.inner.queue.send(body.clone()) => sent.is_ok(),
            _ = failing.wait_for(|failing| *failing) => self.inner.queue.try_send(body).is_ok(),
        };
        if !sent {
            self.inner.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn mark(&self, known: &mut Known, ceremony: &Ceremony) {
        if known.marked.len() < MARKED {
            known.marked.insert(key(ceremony));
        } else {
            known.overflowed = true;
        }
        self.inner.marks.notify_one();
    }

    /// Brings the log up to the store, at the start and whenever something was only marked.
    async fn catch_up(self) {
        let stopping = self.inner.tasks.stopping().clone();
        let forever = async {
            loop {
                let written = self.read_back().await;
                self.walk(written).await;
                self.known().complete = true;
                self.follow_marks().await;
            }
        };
        stopping.run_until_cancelled(forever).await;
    }

    async fn read_back(&self) -> Written {
        let directory = self.inner.directory.clone();
        match tokio::task::spawn_blocking(move || Written::read(&directory)).await {
            Ok(Ok(written)) => written,
            Ok(Err(error)) => {
                tracing::error!(%error, "the audit log could not be read back: ceremonies from \
                    before this start may be entered twice");
                Written::default()
            }
            Err(_) => Written::default(),
        }
    }

    /// Looks at what is marked, until more was than could be kept.
    async fn follow_marks(&self) {
        loop {
            let _ = self.inner.failing.clone().wait_for(|failing| !*failing).await;
            let marked = std::mem::take(&mut self.known().marked);
            if !marked.is_empty() {
                self.look_at(marked).await;
                continue;
            }
            if std::mem::take(&mut self.known().overflowed) {
                return;
            }
            self.inner.caught_up.cancel();
            self.inner.marks.notified().await;
        }
    }

    /// Goes through the store and writes what is missing.
    async fn walk(&self, mut written: Written) {
        let mut after = String::new();
        loop {
            let page = match self.inner.store.page(Bucket::Ceremonies, &after, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "ceremonies could not be read for the audit log");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some((last, _)) = page.last() else { return };
            after.clone_from(last);
            for (_, stored) in &page {
                self.look(stored, &mut written).await;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn look(&self, stored: &Stored, written: &mut Written) {
        let Ok(ceremony) = records::parse::<Ceremony>(stored) else { return };
        let steps = written.steps.remove(&ceremony.request.id);
        let ended_before =
            ceremony.closed().is_some_and(|closed| steps.is_none() && closed.at < written.since);
        if ended_before {
            return;
        }
        self.tell(&ceremony, None, Told::Recovery(steps.unwrap_or_default())).await;
    }

    async fn look_at(&self, marked: BTreeSet<String>) {
        for key in marked {
            match self.inner.store.load(Bucket::Ceremonies, &key).await {
                Ok(Some(stored)) => self.look(&stored, &mut Written::default()).await,
                Ok(None) => {}
                Err(_) => {
                    self.known().marked.insert(key);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Witness for Audit {
    fn changed<'a>(
        &'a self,
        ceremony: &'a Ceremony,
        cause: Option<&'a Event>,
    ) -> BoxFuture<'a, ()> {
        let told = if cause.is_none() { Told::Opening } else { Told::Change };
        Box::pin(self.tell(ceremony, cause, told))
    }

    fn found<'a>(&'a self, ceremony: &'a Ceremony) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // What had ended before this process began is the walk's own business.
            let started = self.inner.started;
            if ceremony.closed().is_none_or(|closed| closed.at >= started) {
                self.tell(ceremony, None, Told::Change).await;
            }
        })
    }

    fn noted<'a>(&'a self, event: &'a SecurityEvent) -> BoxFuture<'a, ()> {
        Box::pin(self.tell_security(event))
    }

    fn ability(&self) -> Ability {
        match (*self.inner.failing.borrow(), self.inner.required) {
            (false, _) => Ability::Well,
            (true, false) => Ability::Failing,
            (true, true) => Ability::Forbidding,
        }
    }
}
