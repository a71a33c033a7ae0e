//! The export: the task that appends what the journal holds to the log, signs checkpoints, and
//! removes what has passed its retention. No commit and no ceremony waits for it.

use std::sync::Arc;
use std::time::Duration;

use fido_relay_proto::UnixMillis;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::entry::CHECKPOINT_TYP;
use super::log::{Line, Log};
use super::{AuditDependencies, Settings, anchor};
use crate::journal::{self, Cursor, EntryPosition, JournalReader, Progress};
use crate::ports::{ExportHealth, Row};
use crate::security::receipt::Receipt;
use crate::security::record::RecordSigner;
use crate::tasks::Tasks;

/// Pause before the disk or the store is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two moves of the cursor. After a crash the log itself tells how far it came.
const CURSOR_EVERY: Duration = Duration::from_secs(5);
/// Between two entries with what was refused.
const REFUSALS_EVERY: Duration = Duration::from_secs(60);
/// Between two looks for what has passed its retention.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);

/// What the cursor says of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exported {
    pub(super) chain: String,
    /// The last line when the cursor was moved.
    pub(super) seq: u64,
    /// That line's hash.
    pub(super) hash: String,
    /// What was left out and is not entered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gap: Option<Gap>,
}

/// Entries that were left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gap {
    from: EntryPosition,
    /// None: they were not counted.
    entries: Option<u64>,
}

impl Gap {
    /// From here on, while there was no audit log.
    pub(super) const fn unknown(from: EntryPosition) -> Self {
        Self { from, entries: None }
    }
}

impl Exported {
    pub(super) fn of(log: &Log, gap: Option<Gap>) -> Self {
        let (chain, seq, hash) = log.end();
        Self { chain: chain.to_owned(), seq, hash: hash.to_owned(), gap }
    }
}

pub(super) struct Export {
    /// None while a thread writes to it.
    log: Option<Log>,
    reader: JournalReader<Exported>,
    /// The first entry that is not in the log.
    next: EntryPosition,
    exported: watch::Sender<EntryPosition>,
    gap: Option<Gap>,
    /// How far the entries that wait were counted, and their bytes.
    backlog: (EntryPosition, usize),
    /// Since when entries wait that are not in the log, or the log could not be written.
    late_since: Option<Instant>,
    /// Whether the last write failed.
    is_failing: bool,
    settings: Settings,
    ground: AuditDependencies,
    health: watch::Sender<ExportHealth>,
    anchor: Option<mpsc::Sender<String>>,
}

impl Export {
    pub(super) fn new(
        log: Log,
        reader: JournalReader<Exported>,
        (next, gap): (EntryPosition, Option<Gap>),
        (settings, ground): (Settings, AuditDependencies),
    ) -> Self {
        Self {
            log: Some(log),
            reader,
            next,
            exported: watch::Sender::new(next),
            gap,
            backlog: (next, 0),
            late_since: None,
            is_failing: false,
            settings,
            ground,
            health: watch::Sender::new(ExportHealth::Healthy),
            anchor: None,
        }
    }

    pub(super) fn health(&self) -> watch::Receiver<ExportHealth> {
        self.health.subscribe()
    }

    pub(super) fn exported(&self) -> watch::Receiver<EntryPosition> {
        self.exported.subscribe()
    }

    pub(super) fn progress(&self) -> Progress {
        self.reader.progress()
    }

    /// Has checkpoints handed over by a task of its own.
    pub(super) fn anchor_in(&mut self, tasks: &Tasks) {
        if !self.settings.anchor.is_empty() {
            let (anchor, checkpoints) = mpsc::channel(anchor::QUEUE);
            tasks.spawn("audit anchor", anchor::run(self.settings.anchor.clone(), checkpoints));
            self.anchor = Some(anchor);
        }
    }

    /// Exports what waits now, with a checkpoint; tells whether nothing is left.
    pub(super) async fn export_once(&mut self) -> bool {
        let is_done = self.export().await && self.checkpoint().await;
        self.save_end().await;
        is_done
    }

    /// Exports until it is told to close, then what is left, and a last checkpoint.
    pub(super) async fn run(mut self, closing: CancellationToken) {
        let every = self.settings.checkpoint_every;
        self.prune().await;
        let mut export_at = Some(Instant::now());
        let mut checkpoint_at = Instant::now() + every;
        let mut cursor_at = Instant::now() + CURSOR_EVERY;
        let mut refusals_at = Instant::now() + REFUSALS_EVERY;
        let mut prune_at = Instant::now() + PRUNE_EVERY;
        loop {
            if self.is_failing && export_at.is_none() {
                export_at = Some(Instant::now() + PAUSE);
            }
            let at = export_at.unwrap_or_else(Instant::now);
            tokio::select! {
                () = closing.cancelled() => break,
                () = sleep_until(at), if export_at.is_some() => {
                    export_at = if self.export().await { None } else { Some(Instant::now() + PAUSE) };
                    // A disk that refused a checkpoint is tried again, too.
                    let was_refused = export_at.is_none() && self.is_failing;
                    if was_refused || self.since_checkpoint() >= self.settings.checkpoint_entries {
                        self.checkpoint().await;
                        checkpoint_at = Instant::now() + every;
                    }
                }
                () = self.reader.wait(self.next), if export_at.is_none() => {
                    self.late_since.get_or_insert_with(Instant::now);
                    export_at = Some(Instant::now() + self.settings.pace);
                }
                () = sleep_until(cursor_at) => {
                    self.save_cursor().await;
                    cursor_at = Instant::now() + CURSOR_EVERY;
                }
                () = sleep_until(refusals_at) => {
                    self.enter_refusals().await;
                    refusals_at = Instant::now() + REFUSALS_EVERY;
                }
                () = sleep_until(checkpoint_at) => {
                    if self.since_checkpoint() > 0 {
                        self.checkpoint().await;
                    }
                    checkpoint_at = Instant::now() + every;
                }
                () = sleep_until(prune_at) => {
                    self.prune().await;
                    prune_at = Instant::now() + PRUNE_EVERY;
                }
            }
        }
        self.enter_refusals().await;
        self.export().await;
        self.write(vec![Line::own(r#"{"event":"stopped"}"#)]).await;
        self.checkpoint().await;
        self.save_end().await;
    }

    /// Appends all that waits; tells whether nothing is left.
    async fn export(&mut self) -> bool {
        loop {
            let rows = match self.reader.rows(self.next).await {
                Ok(rows) => rows,
                Err(error) => {
                    tracing::warn!(%error, "the journal could not be read for the audit log");
                    self.late_since.get_or_insert_with(Instant::now);
                    self.judge();
                    return false;
                }
            };
            let Some(last) = rows.last().map(|row| EntryPosition::behind(row.position)) else {
                if !self.is_failing {
                    self.late_since = None;
                    self.judge();
                }
                return true;
            };
            let mut lines = Vec::new();
            if let Some(Gap { from, entries }) = &self.gap {
                let (from, to) = (from.to_string(), self.next.to_string());
                lines.push(Line::own(serde_json::json!(
                    { "event": "gap", "from": from, "to": to, "entries": entries }
                )));
            }
            lines.extend(journal::entries(&rows, self.next).map(|(place, entry)| Line {
                place: Some(place),
                body: signed(entry.to_owned(), &self.ground.signer),
            }));
            if !self.write(lines).await {
                self.shorten_backlog().await;
                return false;
            }
            (self.next, self.gap) = (last, None);
            self.exported.send_replace(last);
            self.backlog = (last, 0);
        }
    }

    /// Appends lines and flushes them; tells whether it did.
    async fn write(&mut self, lines: Vec<Line>) -> bool {
        let now = self.ground.clock.now();
        self.with_log(move |log| log.append(&lines, now)).await
    }

    async fn enter_refusals(&mut self) {
        if self.is_failing {
            return;
        }
        let sums = self.ground.refusals.take();
        let lines = sums.iter().filter_map(|sum| serde_json::to_string(sum).ok()).map(Line::own);
        let lines: Vec<_> = lines.collect();
        if !lines.is_empty() && !self.write(lines).await {
            tracing::warn!(sums = sums.len(), "refusal counts could not be added to the journal");
        }
    }

    fn since_checkpoint(&self) -> u64 {
        self.log.as_ref().map_or(0, Log::since_checkpoint)
    }

    /// Appends a checkpoint; tells whether it did.
    async fn checkpoint(&mut self) -> bool {
        let now = self.ground.clock.now();
        let signer = Arc::clone(&self.ground.signer);
        let said = self.log.as_ref().and_then(|log| log.checkpoint(signer.issuer(), now));
        let Some(said) = said else { return false };
        let Some(jws) = signer.sign(CHECKPOINT_TYP, &said) else { return false };
        let line = jws.clone();
        let is_written = self.with_log(move |log| log.append_checkpoint(&line, now)).await;
        if is_written {
            // Where the relay's own log is kept elsewhere, this line holds the end against a cut.
            tracing::info!(
                chain = said.chain,
                seq = said.seq,
                hash = said.hash,
                "audit checkpoint"
            );
            match &self.anchor {
                Some(anchor) if anchor.try_send(jws.clone()).is_err() => {
                    let seq = said.seq;
                    tracing::warn!(seq, "audit.anchor is too slow: a checkpoint was skipped");
                }
                Some(_) => {}
                None => anchor::hand_over(&self.settings.anchor, &jws).await,
            }
        }
        is_written
    }

    async fn save_cursor(&mut self) {
        // A line of the log's own is no progress: an idle relay does not write.
        let is_moved = self.reader.stored().is_none_or(|stored| stored.next != self.next);
        if is_moved || self.gap.is_some() {
            self.save_end().await;
        }
    }

    /// Moves the cursor to the log's last line; tells whether it is there.
    async fn save_end(&mut self) -> bool {
        let Some(log) = &self.log else { return false };
        let cursor = Cursor { next: self.next, of: Exported::of(log, self.gap.clone()) };
        let saved = self.reader.save_moved(cursor).await;
        saved
            .inspect_err(
                |error| tracing::warn!(%error, "the audit log's cursor could not be moved"),
            )
            .is_ok()
    }

    /// Leaves out the oldest entries once those that wait have too many bytes. With `required`
    /// all of them are kept: then nothing new begins.
    async fn shorten_backlog(&mut self) {
        if self.settings.required {
            return;
        }
        let limit = self.settings.backlog_bytes;
        while let Some((rows, _, bytes)) = self.count(self.backlog.0).await {
            self.backlog = (rows, self.backlog.1 + bytes);
        }
        if self.backlog.1 <= limit {
            return;
        }
        let from = self.next;
        let (mut left_out, mut left) = (0, self.backlog.1);
        while left > limit / 2
            && let Some((next, entries, bytes)) = self.count(self.next).await
        {
            (self.next, left, left_out) = (next, left.saturating_sub(bytes), left_out + entries);
        }
        self.backlog.1 = left;
        let gap = self.gap.get_or_insert(Gap { from, entries: Some(0) });
        gap.entries = gap.entries.map(|entries| entries + left_out);
        tracing::error!(entries = left_out, "the audit log's backlog is full: entries left out");
        self.save_cursor().await;
    }

    /// Some rows from a place on: where they end, their entries and bytes.
    async fn count(&self, from: EntryPosition) -> Option<(EntryPosition, u64, usize)> {
        let rows = self.reader.rows(from).await.ok()?;
        let mut entries = journal::entries(&rows, from).map(|(_, entry)| entry.len()).peekable();
        entries.peek()?;
        let (count, bytes) =
            entries.fold((0, 0), |(count, bytes), length| (count + 1, bytes + length));
        let last: &Row = rows.last()?;
        Some((EntryPosition::behind(last.position), count, bytes))
    }

    /// The checkpoint that says where the log begins comes first: a crash between the two leaves
    /// more than it says, never less.
    async fn prune(&mut self) {
        let Some(keep) = self.settings.retention_days.checked_mul(24 * 60 * 60 * 1000) else {
            return;
        };
        if keep == 0 {
            return;
        }
        let before = UnixMillis(self.ground.clock.now().0.saturating_sub(keep));
        let Some(log) = &mut self.log else { return };
        let outlived = match log.outlived(before) {
            Ok(outlived) if outlived.is_empty() => return,
            Ok(outlived) => outlived,
            Err(error) => {
                return tracing::warn!(
                    %error,
                    "the age of the oldest unexported journal entry is unknown"
                );
            }
        };
        // What the cursor names must not be among what goes.
        if !self.checkpoint().await || !self.save_end().await {
            return;
        }
        for path in outlived {
            match std::fs::remove_file(&path) {
                Ok(()) => {
                    tracing::info!(file = %path.display(), "audit entries past retention removed")
                }
                Err(error) => tracing::warn!(
                    %error, file = %path.display(),
                    "expired audit entries could not be removed"
                ),
            }
        }
    }

    /// Runs a write on a thread that may wait for the disk; tells whether it succeeded. A disk that
    /// answers nothing is noticed all the same.
    async fn with_log(
        &mut self,
        write: impl FnOnce(&mut Log) -> std::io::Result<()> + Send + 'static,
    ) -> bool {
        let late_since = *self.late_since.get_or_insert_with(Instant::now);
        let done = match self.log.take() {
            Some(mut log) => {
                let mut done = tokio::task::spawn_blocking(move || {
                    let done = write(&mut log);
                    (log, done)
                });
                loop {
                    tokio::select! {
                        done = &mut done => break done.ok(),
                        () = tokio::time::sleep(PAUSE) => self.judge(),
                    }
                }
            }
            None => None,
        };
        let error = match done {
            Some((log, done)) => {
                self.log = Some(log);
                done.err()
            }
            None => Some(std::io::Error::other("the thread that writes it is gone")),
        };
        self.is_failing = error.is_some();
        match error {
            Some(error) => {
                self.late_since = Some(late_since);
                tracing::error!(%error, "the audit log cannot be written");
            }
            None => self.late_since = None,
        }
        self.judge();
        !self.is_failing
    }

    /// Says how the export is.
    fn judge(&self) {
        let late = self.late_since.map_or(Duration::ZERO, |since| since.elapsed());
        let is_late = late >= self.settings.grace;
        let health = match (self.is_failing, is_late) {
            (_, true) if self.settings.required => ExportHealth::Blocking,
            (true, _) | (_, true) => ExportHealth::Failing,
            (false, false) => ExportHealth::Healthy,
        };
        self.health.send_if_modified(|before| std::mem::replace(before, health) != health);
    }
}

impl Drop for Export {
    /// Without it nothing is exported any more.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let health =
                if self.settings.required { ExportHealth::Blocking } else { ExportHealth::Failing };
            self.health.send_replace(health);
        }
    }
}

/// An entry as its line has it: the claims of a receipt are replaced by the signed receipt.
pub(super) fn signed(entry: String, signer: &RecordSigner) -> String {
    if !entry.contains(r#","receipt":{"#) {
        return entry;
    }
    let sign = || {
        let mut value: serde_json::Value = serde_json::from_str(&entry).ok()?;
        let receipt: Receipt = serde_json::from_value(value.get("receipt")?.clone()).ok()?;
        value["receipt"] = receipt.sign(signer)?.into();
        Some(value.to_string())
    };
    sign().unwrap_or(entry)
}
