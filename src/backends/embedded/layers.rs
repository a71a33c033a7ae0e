//! What lies over the tables: the changes of the log's file that is being filled (`newer`), over
//! those of the file before it while they are on their way into the tables (`older`).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use fido_relay_proto::UnixMillis;
use tokio::sync::watch;
use tokio::time::Instant;

use super::database::Database;
use super::overlay::{AppliedChange, Entry, Overlay, revision_of};
use super::tables::TablesReader;
use crate::ports::{Bucket, DueRecord, Duty, Position, Revision, StoreError, Stored};

#[derive(Debug, Default)]
struct LayerPair {
    newer: Overlay,
    older: Option<Arc<Overlay>>,
}

impl LayerPair {
    fn get(&self, bucket: Bucket, key: &str) -> Option<&Entry> {
        self.newer.get(bucket, key).or_else(|| self.older.as_ref()?.get(bucket, key))
    }
}

/// The store as its readers and its writer share it.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) database: Database,
    both: RwLock<LayerPair>,
    tables_written: Mutex<(Instant, Result<(), StoreError>)>,
    /// The last row of the journal that this process wrote.
    journaled: watch::Sender<Position>,
}

/// The tables, and the changes over them from some key on, at one moment.
pub(super) struct Snapshot {
    pub(super) over: BTreeMap<String, Entry>,
    pub(super) tables: TablesReader,
}

/// What the writer checks a group against, without its own newest changes.
pub(super) struct CommittedLayers {
    older: Option<Arc<Overlay>>,
    tables: TablesReader,
}

impl Layers {
    pub(super) fn new(database: Database) -> Self {
        // Opening wrote to the tables.
        let tables_written = Mutex::new((Instant::now(), Ok(())));
        let (both, journaled) = (RwLock::default(), watch::Sender::default());
        Self { database, both, tables_written, journaled }
    }

    fn both(&self) -> RwLockReadGuard<'_, LayerPair> {
        self.both.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record as it was last committed.
    pub(super) fn get(&self, bucket: Bucket, key: &str) -> Result<Entry, StoreError> {
        if let Some(entry) = self.both().get(bucket, key) {
            return Ok(entry.clone());
        }
        // What leaves the layers now is in the tables already.
        let tables = self.database.read()?;
        self.database.guard(|| tables.get(bucket, key))
    }

    /// A bucket from `from` on: of the changes over the tables at least as many as begin with
    /// `prefix` and are not removals, up to `limit`.
    pub(super) fn snapshot(
        &self,
        bucket: Bucket,
        from: Bound<&str>,
        prefix: &str,
        limit: usize,
    ) -> Result<Snapshot, StoreError> {
        let both = self.both();
        let mut newer = both.newer.range(bucket, from).peekable();
        let mut older = both.older.iter().flat_map(|older| older.range(bucket, from)).peekable();
        let (mut over, mut live) = (BTreeMap::new(), 0);
        while live < limit {
            let order = match (newer.peek(), older.peek()) {
                (Some((newer, _)), Some((older, _))) => newer.cmp(older),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let covered = if order.is_ge() { older.next() } else { None };
            let top = if order.is_le() { newer.next() } else { covered };
            match top {
                Some((key, entry)) if key.starts_with(prefix) => {
                    live += usize::from(entry.is_some());
                    over.insert(key.to_owned(), entry.clone());
                }
                Some(_) | None => break,
            }
        }
        Ok(Snapshot { over, tables: self.database.read()? })
    }

    /// What is due, of all layers.
    pub(super) fn due(
        &self,
        duty: Duty,
        until: UnixMillis,
        after: Option<&DueRecord>,
        limit: usize,
    ) -> Result<Vec<DueRecord>, StoreError> {
        let both = self.both();
        let mut found: Vec<_> = both.newer.due(duty, until, after).take(limit).collect();
        let is_newest = |record: &DueRecord| both.newer.get(record.bucket, &record.key).is_none();
        if let Some(older) = &both.older {
            found.extend(older.due(duty, until, after).filter(is_newest).take(limit));
        }
        let tables = self.database.read()?;
        let in_tables = self.database.guard(|| {
            let rows = tables.due(duty, until, after)?;
            let is_covered = |record: &DueRecord| both.get(record.bucket, &record.key).is_some();
            let rows = rows.filter(|row| !row.as_ref().is_ok_and(is_covered));
            rows.take(limit).collect::<Result<Vec<_>, _>>()
        })?;
        found.extend(in_tables);
        found.sort_unstable();
        found.truncate(limit);
        Ok(found)
    }

    /// What the writer checks a group against.
    pub(super) fn ground(&self) -> Result<CommittedLayers, StoreError> {
        let both = self.both();
        Ok(CommittedLayers { older: both.older.clone(), tables: self.database.read()? })
    }

    /// The revision of a record.
    pub(super) fn revision(
        &self,
        ground: &CommittedLayers,
        bucket: Bucket,
        key: &str,
    ) -> Result<Revision, StoreError> {
        if let Some(entry) = self.both().newer.get(bucket, key) {
            return Ok(revision_of(entry));
        }
        if let Some(entry) = ground.older.as_ref().and_then(|older| older.get(bucket, key)) {
            return Ok(revision_of(entry));
        }
        self.database.guard(|| Ok(revision_of(&ground.tables.get(bucket, key)?)))
    }

    /// Makes changes visible that are flushed, the journal's `row` among them.
    pub(super) fn apply(&self, changes: Vec<AppliedChange>, row: Option<Position>) {
        let mut both = self.both.write().unwrap_or_else(PoisonError::into_inner);
        changes.into_iter().for_each(|change| both.newer.set(change));
        drop(both);
        if let Some(row) = row {
            self.journaled.send_replace(row);
        }
    }

    /// Waits until this process has written a row of the journal after `after`.
    pub(super) async fn journaled(&self, after: Position) {
        // The sender is here, so it does not end.
        let _ = self.journaled.subscribe().wait_for(|last| *last > after).await;
    }

    /// Begins a new layer and gives the one before, which stays visible until
    /// [`Layers::in_tables`].
    pub(super) fn turn(&self) -> Arc<Overlay> {
        let mut both = self.both.write().unwrap_or_else(PoisonError::into_inner);
        let older = Arc::new(std::mem::take(&mut both.newer));
        both.older = Some(Arc::clone(&older));
        older
    }

    /// The older layer is in the tables.
    pub(super) fn in_tables(&self) {
        self.both.write().unwrap_or_else(PoisonError::into_inner).older = None;
    }

    /// Whether a layer is on its way into the tables.
    pub(super) fn is_turning(&self) -> bool {
        self.both().older.is_some()
    }

    /// When the tables were last written to, and how that ended.
    pub(super) fn tables_written(&self) -> (Instant, Result<(), StoreError>) {
        self.tables_written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note_written(&self, ended: Result<(), StoreError>) {
        let now = (Instant::now(), ended);
        *self.tables_written.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Snapshot {
    /// The records of a bucket from `from` on, in key order, up to `limit`, as long as their keys
    /// begin with `prefix`. Fewer: there are no more.
    pub(super) fn next(
        &self,
        bucket: Bucket,
        from: Bound<&str>,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(String, Stored)>, redb::Error> {
        let mut rows = self.tables.range(bucket, from)?.peekable();
        let mut over = self.over.range::<str, _>((from, Bound::Unbounded)).peekable();
        let mut found = Vec::new();
        while found.len() < limit {
            let row = match rows.peek() {
                Some(Ok((key, _))) => Some(key.as_str()),
                Some(Err(_)) => {
                    rows.next().transpose()?;
                    continue;
                }
                None => None,
            };
            let top = over.peek().map(|(key, _)| key.as_str());
            let (take_over, take_row) = match (top, row) {
                (None, None) => break,
                (Some(top), Some(row)) => (top <= row, row <= top),
                (top, row) => (top.is_some(), row.is_some()),
            };
            let row = if take_row { rows.next().transpose()? } else { None };
            let record = if take_over {
                over.next().and_then(|(key, entry)| Some((key.clone(), entry.clone()?)))
            } else {
                row
            };
            match record {
                Some((key, _)) if !key.starts_with(prefix) => break,
                Some(record) => found.push(record),
                None => {}
            }
        }
        Ok(found)
    }
}
