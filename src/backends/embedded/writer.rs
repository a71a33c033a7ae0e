//! The one writer: a thread that puts every write that waits into one transaction.
//!
//! ```text
//!   save, remove ──▶ queue (bounded) ──▶ writer: begin · compare and set each · commit (fsync)
//!        ▲                                              │ only now
//!        └────────────────── revision or error ◀────────┘
//! ```
//! A flush to the disk costs the same for one record as for hundreds, so many callers share one.

use std::sync::Arc;

use redb::{Durability, ReadableTable as _, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::database::{self, Database};
use crate::ports::{Bucket, Revision, StoreError};

/// Writes that may wait; more callers wait for room.
pub(super) const QUEUE: usize = 1024;
/// Most writes in one transaction, so that the first of them does not wait long for the others.
const BATCH: usize = 512;

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
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Put(_) => "Put",
            Self::Remove => "Remove",
        })
    }
}

/// Writes until every sender is gone and the queue is empty, then closes the database.
pub(super) fn run(database: &Arc<Database>, queue: &mut mpsc::Receiver<Write>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.blocking_recv_many(&mut batch, BATCH) > 0 {
        match apply(database, &batch) {
            Ok(results) => {
                for (write, result) in batch.drain(..).zip(results) {
                    // A caller who no longer waits has the write all the same.
                    let _ = write.reply.send(result);
                }
            }
            Err(error) => {
                let unavailable = database.fail(&error);
                for write in batch.drain(..) {
                    let _ = write.reply.send(Err(unavailable.clone()));
                }
            }
        }
    }
    database.close();
}

/// Applies a batch in its order and commits it. `Err` means that nothing of it is acknowledged.
fn apply(
    database: &Database,
    batch: &[Write],
) -> Result<Vec<Result<Revision, StoreError>>, redb::Error> {
    let mut transaction = database.write()?;
    transaction.set_durability(Durability::Immediate)?;
    let before = database::last_revision(&transaction)?;
    let mut last = before;
    let mut changed = false;
    let mut results = Vec::with_capacity(batch.len());
    for write in batch {
        let result = apply_one(&transaction, write, last + 1)?;
        if let Ok(revision) = result {
            last = last.max(revision.0);
            changed = true;
        }
        results.push(result);
    }
    if !changed {
        transaction.abort()?;
        return Ok(results);
    }
    if last != before {
        database::set_last_revision(&transaction, last)?;
    }
    transaction.commit()?;
    Ok(results)
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
    }
}
