//! The audit log: who opened, was asked, answered and was let in, one JSON object a line, each
//! chained to the one before and signed at intervals, appended and never rewritten.
//!
//! ```text
//!  journal ──▶ export ──▶ log ── flush ──▶ cursor
//!                 ▲          └── checkpoint: signed ──▶ anchor
//!  refusals ──────┘ each minute
//! ```
//! **Nothing is lost by a crash.** What happens is in the store's journal, committed with the change
//! itself. The export appends each entry, flushes, and only then moves its cursor; the log's last line
//! names the entry that it holds, so after a crash the export goes on right behind it.
//!
//! **What was done to the files is found.** At the start the log must have the line that the cursor
//! names; a log that was cut off, removed or replaced by an earlier copy lacks it, and the log says
//! so from then on. A last line whose entry the store never had means that the store was put back.
//! Where both were put back together, only a checkpoint that was kept elsewhere shows it.
//!
//! **A disk that takes nothing.** The journal keeps what happens. With `required` the relay refuses
//! new approvals once the export has failed for a minute ([`ExportHealth::Blocking`]); without, entries
//! beyond a limit of bytes are left out, and the log says how many.
//!
//! It knows the journal and the ports, and nothing of HTTP, sockets or a FIDO2 server.

mod anchor;
mod entry;
mod export;
mod log;
pub mod refusals;
mod upgrade;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

pub use entry::{CHECKPOINT_TYP, Checkpoint};
pub use log::segments;
pub use verify::{Fault, Question, Report, known_checkpoint, verify};

use self::export::{Export, Exported, Gap};
use self::log::{Line, Log};
use self::refusals::RefusalCounts;
use self::upgrade::Written;
use crate::journal::{Cursor, EntryPosition, Journal, JournalReader, Progress};
use crate::ports::{Batch, Bucket, Clock, ExportHealth, Position, Store, StoreError, records};
use crate::security::record::RecordSigner;
use crate::tasks::Tasks;

/// The name of its cursor.
const READER: &str = "audit";
/// For what waits in the journal when the relay stops.
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
    /// A program and its arguments that is handed each checkpoint on its standard input; empty: none.
    pub anchor: Vec<String>,
    /// A segment of this size is followed by a new one; `None`: 64 MiB.
    pub segment_bytes: Option<u64>,
    /// How long entries are gathered for one flush.
    pub pace: Duration,
    /// How long the export may fail before nothing is approved any more, if it is required.
    pub grace: Duration,
    /// Bytes of entries that wait at most, if it is not required.
    pub backlog_bytes: usize,
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
            anchor: Vec::new(),
            segment_bytes: None,
            pace: Duration::from_millis(250),
            grace: Duration::from_secs(60),
            backlog_bytes: 256 * 1024 * 1024,
        }
    }
}

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
pub enum AuditStartError {
    /// Its files cannot be had.
    #[error(transparent)]
    Files(#[from] std::io::Error),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the audit log stands on.
#[derive(Clone, Debug)]
pub struct AuditDependencies {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    /// Signs checkpoints and receipts.
    pub signer: Arc<RecordSigner>,
    pub refusals: Arc<RefusalCounts>,
}

/// The audit log of a running relay, or of a command while none runs. Clones are the same.
#[derive(Clone, Debug)]
pub struct Audit {
    #[cfg_attr(not(feature = "test-support"), expect(dead_code, reason = "for caught_up"))]
    store: Arc<dyn Store>,
    health: watch::Receiver<ExportHealth>,
    #[cfg_attr(not(feature = "test-support"), expect(dead_code, reason = "for caught_up"))]
    exported: watch::Receiver<EntryPosition>,
    progress: Progress,
    tasks: Tasks,
}

/// How a log differs from the one that the store's cursor names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// There is no line.
    Gone,
    /// Its lines are of another chain, or the line that the cursor names is another one.
    Replaced,
    /// It ends before the line that the cursor names.
    Cut,
}

impl Difference {
    /// Its name in the entry `log_restarted`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Replaced => "replaced",
            Self::Cut => "cut",
        }
    }
}

/// How the log of a directory differs from what the store's cursor names, if it does.
pub async fn compare(
    directory: &Path,
    store: &dyn Store,
) -> Result<Option<Difference>, AuditStartError> {
    let stored = records::load::<Cursor<Exported>>(store, Bucket::Cursors, READER).await?;
    let Some((Cursor { of: exported, .. }, _)) = stored else { return Ok(None) };
    Ok(differs(directory, &exported)?)
}

fn differs(directory: &Path, exported: &Exported) -> std::io::Result<Option<Difference>> {
    let Exported { chain, seq, hash, .. } = exported;
    if *seq == 0 {
        // A first start that was cut off before its first line.
        return Ok(None);
    }
    let found = match log::find(directory, *seq) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        found => found?,
    };
    Ok(match found {
        Some((is, is_hash)) if is == *chain && is_hash == *hash => None,
        Some(_) => Some(Difference::Replaced),
        None => match log::segments(directory).unwrap_or_default().first() {
            // It has passed its retention.
            Some((first, _)) if first > seq => None,
            Some(_) => Some(Difference::Cut),
            None => Some(Difference::Gone),
        },
    })
}

impl Audit {
    /// Opens the log, compares it with the store, and starts the export. After an upgrade from a
    /// version without a journal, what that version left unwritten is entered first.
    pub async fn start(
        settings: Settings,
        ground: AuditDependencies,
        journal: &Journal,
    ) -> Result<Self, AuditStartError> {
        let (version, iss) = (env!("CARGO_PKG_VERSION"), ground.signer.issuer());
        let started = json!({ "event": "started", "version": version, "iss": iss });
        let store = Arc::clone(&ground.store);
        let mut export = open(settings, ground, journal, Some(started)).await?;
        let (tasks, progress) = (Tasks::default(), export.progress());
        let (health, exported) = (export.health(), export.exported());
        export.anchor_in(&tasks);
        tasks.spawn("audit export", export.run(tasks.stopping().clone()));
        Ok(Self { store, health, exported, progress, tasks })
    }

    /// Waits until everything is in the log that was committed before the call.
    ///
    /// # Errors
    /// The store's.
    #[cfg(feature = "test-support")]
    pub async fn caught_up(&self) -> Result<(), StoreError> {
        let mut exported = self.exported.clone();
        loop {
            let next = *exported.borrow_and_update();
            let behind = Position(next.row.saturating_sub(1));
            if self.store.journal(behind, 1).await?.iter().all(|row| row.position <= behind) {
                return Ok(());
            }
            // The export ends only with the relay.
            if exported.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Whether it can keep up with the journal.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<ExportHealth> {
        self.health.clone()
    }

    /// What of the journal it needs no more.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Writes what waits, a last checkpoint, and stops. Tells whether all of it was written in time;
    /// what was not is in the journal.
    pub async fn close(&self) -> bool {
        self.tasks.stop(CLOSE_LIMIT).await && *self.health.borrow() == ExportHealth::Healthy
    }
}

/// The audit log of a store that no relay has open: what is done to it is entered at once.
pub struct Offline(Export);

impl std::fmt::Debug for Offline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offline").finish_non_exhaustive()
    }
}

impl Offline {
    /// Opens the log, as [`Audit::start`] does; none: it is not the one that the store's cursor
    /// names, or the store is of a version without a journal. The next start of a relay, with its own
    /// configuration, says so and enters what is done.
    pub async fn open(
        settings: Settings,
        ground: AuditDependencies,
        journal: &Journal,
    ) -> Result<Option<Self>, AuditStartError> {
        let store = &*ground.store;
        let is_known = store.load(Bucket::Cursors, READER).await?.is_some();
        let is_new = store.page(Bucket::Ceremonies, "", 1).await?.is_empty();
        let is_its = compare(&settings.directory, store).await?.is_none();
        if !is_its || !is_known && !is_new {
            return Ok(None);
        }
        open(settings, ground, journal, None).await.map(|export| Some(Self(export)))
    }

    /// Appends what the journal holds, and a checkpoint; tells whether it did. What it did not is
    /// entered by the next start of a relay.
    pub async fn export(&mut self) -> bool {
        self.0.export_once().await
    }
}

/// Opens the log and compares it with the store; `started` is entered after what was found.
async fn open(
    settings: Settings,
    ground: AuditDependencies,
    journal: &Journal,
    started: Option<serde_json::Value>,
) -> Result<Export, AuditStartError> {
    let Settings { directory, segment_bytes, .. } = &settings;
    let mut reader = JournalReader::open(Arc::clone(&ground.store), READER).await?;
    let stored: Option<Cursor<Exported>> = reader.stored().cloned();
    let before = stored.as_ref().map(|cursor| differs(directory, &cursor.of)).transpose()?;
    let (mut log, torn) = Log::open(directory, segment_bytes.unwrap_or(log::SEGMENT_BYTES))?;
    let now = ground.clock.now();
    let mut first = Vec::new();
    if let Some(torn) = torn {
        let (bytes, sha256) = (torn.bytes, torn.sha256);
        tracing::warn!(bytes, "the audit log ended in an incomplete line: the line was cut off");
        first.push(json!({ "event": "repaired", "bytes": bytes, "sha256": sha256 }));
    }
    // The cursor as it is, for the revision alone: what it says of the log is kept until the log says
    // what was found. No row that the store ever had has a greater revision.
    let head = reader.save(Batch::new(), stored.clone().unwrap_or_default()).await?;
    let mut next = stored.as_ref().map(|cursor| cursor.next).unwrap_or_default();
    let exported = log.position().map(EntryPosition::next);
    let is_beyond = exported.is_some_and(|exported| exported.row > head.0);
    if let (Some(cursor), Some(found)) = (&stored, before.flatten()) {
        let Exported { chain, seq, hash, .. } = &cursor.of;
        let found = found.as_str();
        tracing::error!(
            found,
            chain,
            seq,
            hash,
            "the audit log lacks entries that were written to it"
        );
        let before = json!({ "chain": chain, "seq": seq, "hash": hash });
        first.push(json!({ "event": "log_restarted", "found": found, "before": before }));
        log.go_on_at(next);
    } else if is_beyond {
        let position = log.position().unwrap_or_default().to_string();
        tracing::error!(
            position,
            "an older store was restored: the audit log has entries that the store lacks"
        );
        first.push(json!({ "event": "store_put_back", "position_before": position }));
        next = EntryPosition::behind(Position(head.0));
        log.go_on_at(next);
    } else {
        next = next.max(exported.unwrap_or_default());
    }
    // A gap is entered with what follows it.
    let gap = stored.as_ref().and_then(|cursor| {
        cursor.of.gap.clone().filter(|_| exported.is_none_or(|exported| exported <= cursor.next))
    });
    if stored.is_none() {
        recover(&mut log, &reader, journal, &ground).await?;
    }
    let first: Vec<_> = first.into_iter().chain(started).map(Line::own).collect();
    log.append(&first, now)?;
    let of = Exported::of(&log, gap.clone());
    reader.save_moved(Cursor { next, of }).await?;
    Ok(Export::new(log, reader, (next, gap), (settings, ground)))
}

/// Notes in the store that a relay runs without the audit log: what it does not say will be missing.
///
/// # Errors
/// The store's.
pub async fn pass_over(store: Arc<dyn Store>) -> Result<(), StoreError> {
    let mut reader = JournalReader::<Exported>::open(store, READER).await?;
    let Some(mut cursor) = reader.stored().cloned() else { return Ok(()) };
    cursor.of.gap.get_or_insert_with(|| Gap::unknown(cursor.next));
    reader.save_moved(cursor).await
}

/// Enters what a version without a journal left unwritten, but for what the journal has. Cut off, it
/// begins anew: what it has written is then found in the log.
async fn recover(
    log: &mut Log,
    reader: &JournalReader<Exported>,
    journal: &Journal,
    ground: &AuditDependencies,
) -> Result<(), AuditStartError> {
    let store = &*ground.store;
    // A new store has nothing to recover, and the log is not read for it.
    if store.page(Bucket::Ceremonies, "", 1).await?.is_empty() {
        return Ok(());
    }
    let mut written = Written::read(log.directory())?;
    let mut next = EntryPosition::default();
    loop {
        let rows = reader.rows(next).await?;
        let Some(last) = rows.last() else { break };
        next = EntryPosition::behind(last.position);
        rows.iter().flat_map(|row| &row.entries).for_each(|entry| written.add(entry));
    }
    let mut after = String::new();
    while let Some((entries, last)) = upgrade::page(store, &after, (&written, journal)).await? {
        let entries = entries.into_iter().map(|entry| export::signed(entry, &ground.signer));
        let lines: Vec<_> = entries.map(Line::own).collect();
        log.append(&lines, ground.clock.now())?;
        after = last;
    }
    Ok(())
}
