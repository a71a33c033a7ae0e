//! The one writer: a thread that puts every write that waits into one transaction.
//!
//! ```text
//!   save, remove ──▶ queue (bounded) ──▶ writer: begin · compare and set each · commit (fsync)
//!        ▲                                              │ only now
//!        └────────────────── revision or error ◀────────┘
//! ```
//! A flush to the disk costs the same for one record as for hundreds, so many callers share one.

use std::sync::{Arc, Mutex, PoisonError};

use redb::{Durability, ReadableTable as _, TableDefinition, WriteTransaction};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::database::{self, Database};
use crate::ports::{Bucket, Revision, StoreError};
use crate::security::random;

/// Writes that may wait; more callers wait for room.
pub(super) const QUEUE: usize = 1024;
/// Most writes in one transaction, so that the first of them does not wait long for the others.
const BATCH: usize = 512;

/// Bytes that a trial write takes: more than the pages that an opening changes, so that a disk with
/// room for it has room for an opening.
const TRIAL: usize = 128 * 1024;
/// Where a trial write goes.
const TRIALS: TableDefinition<'static, (), &[u8]> = TableDefinition::new("trial");

/// How the last commit ended, and when. Shared by the writer and those who ask.
#[derive(Clone, Debug)]
pub(super) struct LastCommit(Arc<Mutex<(Instant, Result<(), StoreError>)>>);

impl LastCommit {
    /// Opening a store commits.
    pub(super) fn of_opening() -> Self {
        Self(Arc::new(Mutex::new((Instant::now(), Ok(())))))
    }

    pub(super) fn get(&self) -> (Instant, Result<(), StoreError>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, ended: Result<(), StoreError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), ended);
    }
}

/// One write that waits for its turn.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) bucket: Bucket,
    pub(super) key: Box<str>,
    pub(super) expected: Revision,
    pub(super) change: Change,
    pub(super) reply: oneshot::Sender<Result<Revision, StoreError>>,
}

/// What is to become of a record.
pub(super) enum Change {
    Put(Vec<u8>),
    Remove,
    /// Writes a record that is never read, to see whether the disk takes it.
    Trial,
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Put(_) => "Put",
            Self::Remove => "Remove",
            Self::Trial => "Trial",
        })
    }
}

/// Writes until every sender is gone and the queue is empty, then closes the database.
pub(super) fn run(
    database: &Arc<Database>,
    queue: &mut mpsc::Receiver<Write>,
    last_commit: &LastCommit,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.blocking_recv_many(&mut batch, BATCH) > 0 {
        match database.guard(|| apply(database, &batch)) {
            Ok(Applied { results, is_committed }) => {
                if is_committed {
                    last_commit.set(Ok(()));
                }
                for (write, result) in batch.drain(..).zip(results) {
                    // A caller who no longer waits has the write all the same.
                    let _ = write.reply.send(result);
                }
            }
            Err(unavailable) => {
                last_commit.set(Err(unavailable.clone()));
                for write in batch.drain(..) {
                    let _ = write.reply.send(Err(unavailable.clone()));
                }
            }
        }
    }
    database.close();
}

/// What became of a batch, in its order.
struct Applied {
    results: Vec<Result<Revision, StoreError>>,
    is_committed: bool,
}

/// Applies a batch in its order and commits it. `Err` means that nothing of it is acknowledged.
fn apply(database: &Database, batch: &[Write]) -> Result<Applied, redb::Error> {
    let mut transaction = database.write()?;
    transaction.set_durability(Durability::Immediate)?;
    let before = database::last_revision(&transaction)?;
    let mut last = before;
    let mut is_committed = false;
    let mut results = Vec::with_capacity(batch.len());
    for write in batch {
        let result = apply_one(&transaction, write, last + 1)?;
        if let Ok(revision) = result {
            last = last.max(revision.0);
            is_committed = true;
        }
        results.push(result);
    }
    if !is_committed {
        transaction.abort()?;
        return Ok(Applied { results, is_committed });
    }
    if last != before {
        database::set_last_revision(&transaction, last)?;
    }
    transaction.commit()?;
    Ok(Applied { results, is_committed })
}

fn apply_one(
    transaction: &WriteTransaction,
    write: &Write,
    next: u64,
) -> Result<Result<Revision, StoreError>, redb::Error> {
    let mut table = transaction.open_table(database::records(write.bucket))?;
    let found = table.get(&*write.key)?.map_or(Revision::ABSENT, |found| Revision(found.value().0));
    if found != write.expected {
        return Ok(Err(StoreError::Conflict));
    }
    match &write.change {
        Change::Put(value) => {
            table.insert(&*write.key, (next, value.as_slice()))?;
            Ok(Ok(Revision(next)))
        }
        Change::Remove => {
            table.remove(&*write.key)?;
            Ok(Ok(found))
        }
        Change::Trial => {
            // Random, since a file system that compresses has room for zeros when it has no other.
            let content = random::bytes::<TRIAL>();
            transaction.open_table(TRIALS)?.insert((), content.as_slice())?;
            Ok(Ok(Revision::ABSENT))
        }
    }
}
