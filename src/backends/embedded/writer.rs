//! The writer thread: it puts all waiting batches into one frame of the log. The checkpoint thread
//! applies full log files to the tables.
//!
//! ```text
//!   commit ─▶ queue ─▶ writer: check each batch · append one frame · flush ─▶ newer layer ─▶ answer
//!                                      │ the file is full
//!                                      ▼
//!                         older layer ─▶ tables (one transaction) ─▶ the file is free again
//! ```
//! Group commit: a flush costs the same for one batch as for hundreds, so many callers share one.
//! Successive states of a ceremony within one log file reach the tables as one write.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redb::{Durability, TableDefinition};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::layers::{CommittedLayers, Layers};
use super::log::{AppendError, LogFile, LogHead};
use super::overlay::{AppliedChange, revision_of};
use super::payload;
use super::store_file::{LogSlot, OpenStoreFile, StoreFile};
use super::tables::{LogState, Meta};
use super::{checkpoint, recovery};
use crate::ports::{Batch, Bucket, Position, Revision, Row, StoreError, Stored, Write};
use crate::security::random;

/// Batches that may wait; more callers wait for room.
pub(super) const QUEUE: usize = 1024;
/// Batches of one frame at most, which bounds how long the first of them waits for the others.
const GROUP: usize = 512;
/// Bytes after which a frame takes no more batches.
const FRAME: usize = 4 * 1024 * 1024;
/// Default of [`StoreOptions::log_bytes`](super::StoreOptions::log_bytes).
pub(super) const LOG_BYTES: u64 = 8 * 1024 * 1024;
/// How long a frame of unknown fate is retried before the store is fenced.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
/// Pause before another rotation after one failed, while the current file has room.
const ROTATION_PAUSE: Duration = Duration::from_secs(1);
/// Pause between two attempts to settle a frame's fate.
const PAUSE: Duration = Duration::from_millis(10);

/// Bytes of a trial write: more than the pages that opening a ceremony changes, so that a disk with
/// room for it has room for an opening.
const TRIAL: usize = 128 * 1024;
/// The table of trial writes.
const TRIALS: TableDefinition<'static, (), &[u8]> = TableDefinition::new("trial");

type WriteResult = Result<Revision, StoreError>;

/// A queued operation with the channel of its result.
#[derive(Debug)]
pub(super) struct WriteRequest {
    pub(super) op: WriteOp,
    pub(super) reply: oneshot::Sender<WriteResult>,
}

/// An operation of the writer.
#[derive(Debug)]
pub(super) enum WriteOp {
    Commit(Batch),
    /// Writes data that is never read, to find out whether the disk takes writes.
    Trial,
}

pub(super) struct Writer {
    pub(super) layers: Arc<Layers>,
    pub(super) parts: Arc<OpenStoreFile>,
    pub(super) meta: Meta,
    pub(super) log: LogFile,
    pub(super) log_bytes: u64,
    /// The log's other file, once it was used.
    pub(super) spare: Option<LogFile>,
    /// The time of the last failed rotation.
    pub(super) rotation_failed: Option<Instant>,
    pub(super) checkpoints: checkpoint::Checkpoints,
}

/// Batches that become one frame.
struct PendingGroup {
    committed: CommittedLayers,
    payload: Vec<u8>,
    changes: Vec<AppliedChange>,
    /// The batches' journal entries.
    entries: Vec<String>,
    entry_bytes: usize,
    /// The new revision of each record that the frame changes.
    pending: HashMap<(Bucket, Box<str>), Revision>,
    revision: u64,
    answers: Vec<(oneshot::Sender<WriteResult>, WriteResult)>,
}

impl PendingGroup {
    fn push(&mut self, change: AppliedChange) {
        payload::encode(&change, &mut self.payload);
        self.changes.push(change);
    }

    /// Adds the journal's row, if the batches have entries, and returns its position.
    fn add_row(&mut self) -> Option<Position> {
        if self.entries.is_empty() {
            return None;
        }
        self.revision += 1;
        let position = Position(self.revision);
        let entry = Some(Row::stored(position, &self.entries));
        self.push(AppliedChange { bucket: Bucket::Journal, key: position.key().into(), entry });
        Some(position)
    }
}

impl Writer {
    /// Runs until every sender is dropped and the queue is empty, then applies the log to the tables
    /// and closes them.
    pub(super) fn run(mut self, queue: &mut mpsc::Receiver<WriteRequest>) {
        let mut requests = Vec::with_capacity(GROUP);
        while queue.blocking_recv_many(&mut requests, GROUP) > 0 {
            let mut waiting = requests.drain(..).peekable();
            while waiting.peek().is_some() {
                self.write_group(&mut waiting, queue);
            }
            let may_rotate = self.rotation_failed.is_none_or(|at| at.elapsed() > ROTATION_PAUSE);
            if self.log.used() >= self.log_bytes && may_rotate && !self.layers.is_checkpointing() {
                self.rotate();
            }
        }
        self.close();
    }

    /// Writes as many requests as fit into one frame.
    fn write_group(
        &mut self,
        requests: &mut impl Iterator<Item = WriteRequest>,
        queue: &mut mpsc::Receiver<WriteRequest>,
    ) {
        let committed =
            match self.layers.database.fenced().map_or_else(|| self.layers.committed(), Err) {
                Ok(committed) => committed,
                Err(error) => {
                    requests.for_each(|request| drop(request.reply.send(Err(error.clone()))));
                    return;
                }
            };
        let revision = self.meta.revision;
        let mut group = PendingGroup {
            committed,
            payload: payload::begin(revision),
            changes: Vec::new(),
            entries: Vec::new(),
            entry_bytes: 0,
            pending: HashMap::new(),
            revision,
            answers: Vec::new(),
        };
        for WriteRequest { op, reply } in requests {
            let answer = match op {
                WriteOp::Commit(batch) => self.add(&mut group, batch),
                WriteOp::Trial => self.try_disk().map(|()| Revision::ABSENT),
            };
            group.answers.push((reply, answer));
            if group.payload.len() + group.entry_bytes >= FRAME {
                break;
            }
        }
        let row = group.add_row();
        let written =
            if group.changes.is_empty() { Ok(()) } else { self.append(&mut group, queue) };
        // Also after a failure: a crash may keep the frame, and its revisions must not be reused.
        self.meta.revision = group.revision;
        if written.is_ok() {
            self.layers.apply(group.changes, row);
        }
        for (reply, answer) in group.answers {
            // A failed frame fails every request in it. A caller that no longer waits changes nothing.
            drop(reply.send(written.clone().and(answer)));
        }
    }

    /// Checks a batch and adds it to the frame.
    fn add(&self, group: &mut PendingGroup, batch: Batch) -> WriteResult {
        for change in batch.changes() {
            let name = (change.bucket, change.key.clone());
            let found = match group.pending.get(&name) {
                Some(revision) => *revision,
                None => self.layers.revision(&group.committed, change.bucket, &change.key)?,
            };
            if found != change.expected {
                return Err(StoreError::Conflict(change.name()));
            }
        }
        let before = Revision(group.revision);
        let revision = Revision(group.revision + 1);
        let (changes, entries) = batch.into_parts();
        group.entry_bytes += entries.iter().map(String::len).sum::<usize>();
        group.entries.extend(entries);
        for change in changes {
            let (bucket, key) = (change.bucket, change.key);
            let entry = match change.write {
                Write::Check => continue,
                Write::Put { value, due } => Some(Stored { revision, value, due }),
                Write::Remove => None,
            };
            group.revision = revision.0;
            group.pending.insert((bucket, key.clone()), revision_of(&entry));
            group.push(AppliedChange { bucket, key, entry });
        }
        // A batch of conditions alone uses up no revision.
        Ok(if group.revision == before.0 { before } else { revision })
    }

    /// Appends the frame. After an error it is not in the log.
    fn append(
        &mut self,
        group: &mut PendingGroup,
        queue: &mut mpsc::Receiver<WriteRequest>,
    ) -> Result<(), StoreError> {
        let length = group.payload.len();
        if !self.log.has_room(length) && (self.layers.is_checkpointing() || !self.rotate()) {
            return Err(match self.layers.tables_written() {
                (_, Err(error)) => error,
                (_, Ok(())) => unavailable("the log is full"),
            });
        }
        payload::set_revision(&mut group.payload, group.revision);
        self.log.make_room(length).map_err(|error| self.failed(&error))?;
        match self.log.append(&group.payload) {
            Ok(()) => Ok(()),
            Err(AppendError::Refused(error)) => Err(self.failed(&error)),
            Err(AppendError::Unknown(error)) => {
                let unavailable = self.failed(&error);
                self.settle(queue).and(Err(unavailable))
            }
        }
    }

    /// Makes sure that a frame whose write failed is not in the log. Until that is known nothing is
    /// acknowledged and no other batch is checked.
    fn settle(&mut self, queue: &mut mpsc::Receiver<WriteRequest>) -> Result<(), StoreError> {
        let give_up = Instant::now() + SETTLE_LIMIT;
        while let Err(error) = self.log.withdraw() {
            if Instant::now() >= give_up {
                let why = format!("the fate of a write to its log is unknown: {error}");
                tracing::error!(
                    %error,
                    "the log cannot be written, and may contain a refused write"
                );
                self.layers.database.fence(why.clone());
                return Err(StoreError::Fenced(why));
            }
            while let Ok(request) = queue.try_recv() {
                drop(
                    request.reply.send(Err(unavailable("a write before this one is not settled"))),
                );
            }
            std::thread::sleep(PAUSE);
            self.reopen();
        }
        Ok(())
    }

    /// Opens the log's file again: some errors persist on an open handle.
    fn reopen(&mut self) {
        let turn = LogSlot::of(self.log.head().generation);
        match (self.parts)(StoreFile::Log(turn)) {
            Ok(file) => self.log.replace(file),
            Err(error) => tracing::warn!(%error, "the log's file cannot be opened again"),
        }
    }

    /// Switches to the other log file and queues a checkpoint of this one; returns whether it did.
    fn rotate(&mut self) -> bool {
        let head = LogHead {
            opening: self.meta.opening,
            generation: self.log.head().generation + 1,
            first: self.log.next(),
        };
        let begun = match self.spare.take() {
            Some(spare) => spare.begin_again(head),
            None => (self.parts)(StoreFile::Log(LogSlot::of(head.generation)))
                .and_then(|file| LogFile::begin(file, head)),
        };
        match begun {
            Ok(log) => {
                self.spare = Some(std::mem::replace(&mut self.log, log));
                self.meta = Meta { generation: head.generation, first: head.first, ..self.meta };
                self.checkpoints.begin(self.layers.rotate(), self.meta);
                true
            }
            Err(error) => {
                self.failed(&error);
                self.rotation_failed = Some(Instant::now());
                false
            }
        }
    }

    /// Makes a trial write to the tables and to the log.
    fn try_disk(&mut self) -> Result<(), StoreError> {
        let database = &self.layers.database;
        let tried = database.guard(|| {
            let mut transaction = database.write()?;
            transaction.set_durability(Durability::Immediate)?;
            // Random data: a file system with compression takes zeros even when it is full.
            let content = random::bytes::<TRIAL>();
            transaction.open_table(TRIALS)?.insert((), content.as_slice())?;
            transaction.commit()?;
            Ok(())
        });
        let tried = tried
            .and_then(|()| self.log.withdraw().map_err(|error| unavailable(&error.to_string())));
        self.layers.note_written(tried.clone());
        tried
    }

    fn failed(&self, error: &std::io::Error) -> StoreError {
        tracing::error!(%error, "the store's log could not be written");
        let error = unavailable(&error.to_string());
        self.layers.note_written(Err(error.clone()));
        error
    }

    /// Applies the log to the tables, if the disk allows it: the next opening reads the rest.
    fn close(self) {
        let Self { layers, mut meta, log, checkpoints, .. } = self;
        if checkpoints.end() && layers.database.fenced().is_none() {
            meta.log = LogState::Empty;
            (meta.generation, meta.first) = (log.head().generation, log.next());
            let newer = layers.rotate();
            let database = &layers.database;
            let written = database.guard(|| recovery::write_tables(database, meta, Some(&newer)));
            if let Err(error) = written {
                tracing::warn!(%error, "the log could not be applied to the tables");
            }
        }
        layers.database.close();
    }
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(why.to_owned())
}
