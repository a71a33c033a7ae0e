//! The one writer: a thread that puts every batch that waits into one frame of the log, and a
//! second one that brings full files of the log into the tables.
//!
//! ```text
//!   commit ─▶ queue ─▶ writer: check each batch · append one frame · flush ─▶ newer layer ─▶ answer
//!                                      │ the file is full
//!                                      ▼
//!                         older layer ─▶ tables (one transaction) ─▶ the file is free again
//! ```
//! A flush to the disk costs the same for one batch as for hundreds, so many callers share one. The
//! states that a ceremony goes through while a file is filled reach the tables as one write.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redb::{Durability, TableDefinition};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::layers::{CommittedLayers, Layers};
use super::log::{AppendError, LogFile, LogHead};
use super::overlay::AppliedChange;
use super::payload;
use super::store_file::{LogSlot, OpenStoreFile, StoreFile};
use super::tables::{LogState, Meta};
use super::{checkpoint, recovery};
use crate::ports::{Batch, Bucket, Position, Revision, Row, StoreError, Stored, Write};
use crate::security::random;

/// Batches that may wait; more callers wait for room.
pub(super) const QUEUE: usize = 1024;
/// Most batches of one frame, so that the first of them does not wait long for the others.
const GROUP: usize = 512;
/// Bytes after which a frame takes no more batches.
const FRAME: usize = 4 * 1024 * 1024;
/// Bytes of a file after which the next is begun, as soon as that one is free: by default.
pub(super) const LOG_BYTES: u64 = 8 * 1024 * 1024;
/// How long the fate of a frame may be unknown.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
/// Pause after the next file could not be begun, while this one has room.
const TURN_PAUSE: Duration = Duration::from_secs(1);
/// Pause between two tries to settle it.
const PAUSE: Duration = Duration::from_millis(10);

/// Bytes that a trial write takes: more than the pages that an opening changes, so that a disk with
/// room for it has room for an opening.
const TRIAL: usize = 128 * 1024;
/// Where a trial write goes.
const TRIALS: TableDefinition<'static, (), &[u8]> = TableDefinition::new("trial");

type WriteResult = Result<Revision, StoreError>;

/// Work that waits for its turn.
#[derive(Debug)]
pub(super) struct WriteRequest {
    pub(super) work: WriteOp,
    pub(super) reply: oneshot::Sender<WriteResult>,
}

/// What the writer is to do.
#[derive(Debug)]
pub(super) enum WriteOp {
    Commit(Batch),
    /// Writes what is never read, to see whether the disk takes it.
    Trial,
}

pub(super) struct Writer {
    pub(super) layers: Arc<Layers>,
    pub(super) parts: Arc<OpenStoreFile>,
    pub(super) meta: Meta,
    pub(super) log: LogFile,
    /// Bytes of a file after which the next is begun.
    pub(super) log_bytes: u64,
    /// The log's other file, once it was used.
    pub(super) spare: Option<LogFile>,
    /// When the other file could last not be begun.
    pub(super) turn_failed: Option<Instant>,
    pub(super) checkpoints: checkpoint::Checkpoints,
}

/// Batches that become one frame.
struct BatchGroup {
    ground: CommittedLayers,
    payload: Vec<u8>,
    changes: Vec<AppliedChange>,
    /// What the group's batches say in the journal.
    entries: Vec<String>,
    entry_bytes: usize,
    /// What the frame makes of each record.
    pending: HashMap<(Bucket, Box<str>), Revision>,
    revision: u64,
    answers: Vec<(oneshot::Sender<WriteResult>, WriteResult)>,
}

impl BatchGroup {
    fn push(&mut self, change: AppliedChange) {
        payload::encode(&change, &mut self.payload);
        self.changes.push(change);
    }

    /// Adds the journal's row, if there is something to say, and gives its position.
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
    /// Writes until every sender is gone and the queue is empty, then empties the log and closes
    /// the tables.
    pub(super) fn run(mut self, queue: &mut mpsc::Receiver<WriteRequest>) {
        let mut orders = Vec::with_capacity(GROUP);
        while queue.blocking_recv_many(&mut orders, GROUP) > 0 {
            let mut waiting = orders.drain(..).peekable();
            while waiting.peek().is_some() {
                self.write_group(&mut waiting, queue);
            }
            let may_turn = self.turn_failed.is_none_or(|at| at.elapsed() > TURN_PAUSE);
            if self.log.used() >= self.log_bytes && may_turn && !self.layers.is_turning() {
                self.turn();
            }
        }
        self.close();
    }

    /// Writes as many orders as one frame takes.
    fn write_group(
        &mut self,
        orders: &mut impl Iterator<Item = WriteRequest>,
        queue: &mut mpsc::Receiver<WriteRequest>,
    ) {
        let ground = match self.layers.database.fenced().map_or_else(|| self.layers.ground(), Err) {
            Ok(ground) => ground,
            Err(error) => {
                orders.for_each(|order| drop(order.reply.send(Err(error.clone()))));
                return;
            }
        };
        let revision = self.meta.revision;
        let mut group = BatchGroup {
            ground,
            payload: payload::begin(revision),
            changes: Vec::new(),
            entries: Vec::new(),
            entry_bytes: 0,
            pending: HashMap::new(),
            revision,
            answers: Vec::new(),
        };
        for WriteRequest { work, reply } in orders {
            let answer = match work {
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
        // Also those of a frame that failed: what a crash keeps of it is no later batch's.
        self.meta.revision = group.revision;
        if written.is_ok() {
            self.layers.apply(group.changes, row);
        }
        for (reply, answer) in group.answers {
            // A caller that no longer waits has the write all the same. With the frame all answers
            // fall that rest on it.
            drop(reply.send(written.clone().and(answer)));
        }
    }

    /// Checks a batch and adds it to the frame.
    fn add(&self, group: &mut BatchGroup, batch: Batch) -> WriteResult {
        for change in batch.changes() {
            let name = (change.bucket, change.key.clone());
            let found = match group.pending.get(&name) {
                Some(revision) => *revision,
                None => self.layers.revision(&group.ground, change.bucket, &change.key)?,
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
            let stands = entry.as_ref().map_or(Revision::ABSENT, |stored| stored.revision);
            group.pending.insert((bucket, key.clone()), stands);
            group.push(AppliedChange { bucket, key, entry });
        }
        // A batch of conditions alone uses up no revision.
        Ok(if group.revision == before.0 { before } else { revision })
    }

    /// Appends the frame. After an error it does not stand.
    fn append(
        &mut self,
        group: &mut BatchGroup,
        queue: &mut mpsc::Receiver<WriteRequest>,
    ) -> Result<(), StoreError> {
        let length = group.payload.len();
        if !self.log.has_room(length) && (self.layers.is_turning() || !self.turn()) {
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

    /// Makes sure that a frame whose write failed does not stand. Nothing is acknowledged, and no
    /// other batch is looked at, before that is known.
    fn settle(&mut self, queue: &mut mpsc::Receiver<WriteRequest>) -> Result<(), StoreError> {
        let give_up = Instant::now() + SETTLE_LIMIT;
        while let Err(error) = self.log.withdraw() {
            if Instant::now() >= give_up {
                let why = format!("the fate of a write to its log is unknown: {error}");
                tracing::error!(%error, "the log cannot be written to, and holds what may stand");
                self.layers.database.fence(why.clone());
                return Err(StoreError::Fenced(why));
            }
            while let Ok(order) = queue.try_recv() {
                drop(order.reply.send(Err(unavailable("a write before this one is not settled"))));
            }
            std::thread::sleep(PAUSE);
            self.reopen();
        }
        Ok(())
    }

    /// Opens the log's file again: some errors stay with an open file.
    fn reopen(&mut self) {
        let turn = LogSlot::of(self.log.head().generation);
        match (self.parts)(StoreFile::Log(turn)) {
            Ok(file) => self.log.replace(file),
            Err(error) => tracing::warn!(%error, "the log's file cannot be opened again"),
        }
    }

    /// Begins the other file, and has this one brought into the tables; tells whether it did.
    fn turn(&mut self) -> bool {
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
                self.checkpoints.begin(self.layers.turn(), self.meta);
                true
            }
            Err(error) => {
                self.failed(&error);
                self.turn_failed = Some(Instant::now());
                false
            }
        }
    }

    /// Writes to the tables and to the log what counts for nothing.
    fn try_disk(&mut self) -> Result<(), StoreError> {
        let database = &self.layers.database;
        let tried = database.guard(|| {
            let mut transaction = database.write()?;
            transaction.set_durability(Durability::Immediate)?;
            // Random, since a file system that compresses has room for zeros when it has no other.
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

    /// Empties the log into the tables, as far as the disk lets it: what is left is read at the
    /// next opening.
    fn close(self) {
        let Self { layers, mut meta, log, checkpoints, .. } = self;
        if checkpoints.end() && layers.database.fenced().is_none() {
            meta.log = LogState::Empty;
            (meta.generation, meta.first) = (log.head().generation, log.next());
            let newer = layers.turn();
            let database = &layers.database;
            let written = database.guard(|| recovery::write_tables(database, meta, Some(&newer)));
            if let Err(error) = written {
                tracing::warn!(%error, "the log could not be emptied into the tables");
            }
        }
        layers.database.close();
    }
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(why.to_owned())
}
