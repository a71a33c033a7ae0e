//! The one writer: a thread that puts every batch that waits into one transaction.
//!
//! ```text
//!   commit ──▶ queue (bounded) ──▶ writer: begin · check and apply each batch · commit (fsync)
//!      ▲                                              │ only now
//!      └────────────────── revision or error ◀────────┘
//! ```
//! A flush to the disk costs the same for one batch as for hundreds, so many callers share one.

use std::sync::{Arc, Mutex, PoisonError};

use redb::{Durability, ReadableTable as _, Table, TableDefinition, WriteTransaction};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::database::{self, Database, Record};
use crate::ports::{Batch, Bucket, Change, Revision, StoreError, Write};
use crate::security::random;

/// Batches that may wait; more callers wait for room.
pub(super) const QUEUE: usize = 1024;
/// Most batches in one transaction, so that the first of them does not wait long for the others.
const GROUP: usize = 512;

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

/// Work that waits for its turn.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Revision, StoreError>>,
}

/// What the writer is to do.
#[derive(Debug)]
pub(super) enum Work {
    Commit(Batch),
    /// Writes a record that is never read, to see whether the disk takes it.
    Trial,
}

/// Writes until every sender is gone and the queue is empty, then closes the database.
pub(super) fn run(
    database: &Arc<Database>,
    queue: &mut mpsc::Receiver<Order>,
    last_commit: &LastCommit,
) {
    let mut group = Vec::with_capacity(GROUP);
    while queue.blocking_recv_many(&mut group, GROUP) > 0 {
        match database.guard(|| apply(database, &group)) {
            Ok(Applied { results, is_committed }) => {
                if is_committed {
                    last_commit.set(Ok(()));
                }
                for (order, result) in group.drain(..).zip(results) {
                    // A caller that no longer waits has the write all the same.
                    let _ = order.reply.send(result);
                }
            }
            Err(unavailable) => {
                last_commit.set(Err(unavailable.clone()));
                for order in group.drain(..) {
                    let _ = order.reply.send(Err(unavailable.clone()));
                }
            }
        }
    }
    database.close();
}

/// What became of a group, in its order.
struct Applied {
    results: Vec<Result<Revision, StoreError>>,
    is_committed: bool,
}

/// Applies a group in its order and commits it. `Err` means that nothing of it is acknowledged.
fn apply(database: &Database, group: &[Order]) -> Result<Applied, redb::Error> {
    let mut transaction = database.write()?;
    transaction.set_durability(Durability::Immediate)?;
    let before = database::last_revision(&transaction)?;
    let mut last = before;
    let mut is_committed = false;
    let mut results = Vec::with_capacity(group.len());
    let mut tables = Tables::of(&transaction);
    for Order { work, .. } in group {
        let result = match work {
            Work::Commit(batch) => match tables.moved(batch)? {
                Some(change) => Err(StoreError::Conflict(change.name())),
                None => {
                    last += 1;
                    tables.write(batch, last)?;
                    Ok(Revision(last))
                }
            },
            Work::Trial => {
                // Random, since a file system that compresses has room for zeros when it has no
                // other.
                let content = random::bytes::<TRIAL>();
                transaction.open_table(TRIALS)?.insert((), content.as_slice())?;
                Ok(Revision::ABSENT)
            }
        };
        is_committed |= result.is_ok();
        results.push(result);
    }
    drop(tables);
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

/// The tables of a transaction, each opened once: opening one costs as much as a write.
struct Tables<'t> {
    transaction: &'t WriteTransaction,
    open: [Option<Table<'t, &'static str, Record>>; Bucket::ALL.len()],
}

impl<'t> Tables<'t> {
    fn of(transaction: &'t WriteTransaction) -> Self {
        Self { transaction, open: [const { None }; Bucket::ALL.len()] }
    }

    fn table(
        &mut self,
        bucket: Bucket,
    ) -> Result<&mut Table<'t, &'static str, Record>, redb::Error> {
        let place = &mut self.open[bucket as usize];
        match place {
            Some(table) => Ok(table),
            None => Ok(place.insert(self.transaction.open_table(database::records(bucket))?)),
        }
    }

    /// The first change of the batch whose record is not at its expected revision.
    fn moved<'b>(&mut self, batch: &'b Batch) -> Result<Option<&'b Change>, redb::Error> {
        for change in batch.changes() {
            let found = self.table(change.bucket)?.get(&*change.key)?;
            if found.map_or(Revision::ABSENT, |found| Revision(found.value().0)) != change.expected
            {
                return Ok(Some(change));
            }
        }
        Ok(None)
    }

    fn write(&mut self, batch: &Batch, revision: u64) -> Result<(), redb::Error> {
        for change in batch.changes() {
            let table = self.table(change.bucket)?;
            match &change.write {
                Write::Check => {}
                Write::Put { value, .. } => {
                    drop(table.insert(&*change.key, (revision, value.as_slice()))?)
                }
                Write::Remove => drop(table.remove(&*change.key)?),
            }
        }
        Ok(())
    }
}
