//! The layers over the tables: the changes of the log file that is being filled (`newer`), over
//! those of the file before it until they are applied to the tables (`older`).

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use fido_relay_proto::UnixMillis;
use tokio::sync::watch;
use tokio::time::Instant;

use super::database::Database;
use super::overlay::{AppliedChange, LayerEntry, Overlay, revision_of};
use super::tables::TablesReader;
use crate::ports::{Bucket, DueRecord, Duty, Position, Revision, StoreError, Stored};

#[derive(Debug, Default)]
struct LayerPair {
    newer: Overlay,
    older: Option<Arc<Overlay>>,
}

impl LayerPair {
    fn get(&self, bucket: Bucket, key: &str) -> Option<&LayerEntry> {
        self.newer.get(bucket, key).or_else(|| self.older.as_ref()?.get(bucket, key))
    }
}

/// The state that readers and the writer share.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) database: Database,
    layers: RwLock<LayerPair>,
    tables_written: Mutex<(Instant, Result<(), StoreError>)>,
    /// The last row of the journal that this process wrote.
    journaled: watch::Sender<Position>,
}

/// A consistent view of a bucket: the tables, and the layers' changes from some key on.
pub(super) struct Snapshot {
    pub(super) over: BTreeMap<String, LayerEntry>,
    pub(super) tables: TablesReader,
}

/// The committed state that the writer checks a group against, without the newer layer, which only
/// the writer itself changes.
pub(super) struct CommittedLayers {
    older: Option<Arc<Overlay>>,
    tables: TablesReader,
}

impl Layers {
    pub(super) fn new(database: Database) -> Self {
        // Opening the store has just written to the tables.
        let tables_written = Mutex::new((Instant::now(), Ok(())));
        let (layers, journaled) = (RwLock::default(), watch::Sender::default());
        Self { database, layers, tables_written, journaled }
    }

    fn layers(&self) -> RwLockReadGuard<'_, LayerPair> {
        self.layers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record as it was last committed.
    pub(super) fn get(&self, bucket: Bucket, key: &str) -> Result<LayerEntry, StoreError> {
        if let Some(entry) = self.layers().get(bucket, key) {
            return Ok(entry.clone());
        }
        // A layer that is dropped now has been applied to the tables already.
        let tables = self.database.read()?;
        self.database.guard(|| tables.get(bucket, key))
    }

    /// A view of a bucket from `from` on, with enough of the layers' changes under `prefix` to list
    /// `limit` records.
    pub(super) fn snapshot(
        &self,
        bucket: Bucket,
        from: Bound<&str>,
        prefix: &str,
        limit: usize,
    ) -> Result<Snapshot, StoreError> {
        let layers = self.layers();
        let mut newer = layers.newer.range(bucket, from).peekable();
        let mut older = layers.older.iter().flat_map(|older| older.range(bucket, from)).peekable();
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

    /// Due records of all layers and the tables.
    pub(super) fn due(
        &self,
        duty: Duty,
        until: UnixMillis,
        after: Option<&DueRecord>,
        limit: usize,
    ) -> Result<Vec<DueRecord>, StoreError> {
        let layers = self.layers();
        let mut found: Vec<_> = layers.newer.due(duty, until, after).take(limit).collect();
        let is_newest = |record: &DueRecord| layers.newer.get(record.bucket, &record.key).is_none();
        if let Some(older) = &layers.older {
            found.extend(older.due(duty, until, after).filter(is_newest).take(limit));
        }
        let tables = self.database.read()?;
        let in_tables = self.database.guard(|| {
            let rows = tables.due(duty, until, after)?;
            let is_covered = |record: &DueRecord| layers.get(record.bucket, &record.key).is_some();
            let rows = rows.filter(|row| !row.as_ref().is_ok_and(is_covered));
            rows.take(limit).collect::<Result<Vec<_>, _>>()
        })?;
        found.extend(in_tables);
        found.sort_unstable();
        found.truncate(limit);
        Ok(found)
    }

    pub(super) fn committed(&self) -> Result<CommittedLayers, StoreError> {
        let layers = self.layers();
        Ok(CommittedLayers { older: layers.older.clone(), tables: self.database.read()? })
    }

    /// The committed revision of a record.
    pub(super) fn revision(
        &self,
        committed: &CommittedLayers,
        bucket: Bucket,
        key: &str,
    ) -> Result<Revision, StoreError> {
        if let Some(entry) = self.layers().newer.get(bucket, key) {
            return Ok(revision_of(entry));
        }
        if let Some(entry) = committed.older.as_ref().and_then(|older| older.get(bucket, key)) {
            return Ok(revision_of(entry));
        }
        self.database.guard(|| Ok(revision_of(&committed.tables.get(bucket, key)?)))
    }

    /// Makes flushed changes visible, the journal's `row` among them.
    pub(super) fn apply(&self, changes: Vec<AppliedChange>, row: Option<Position>) {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        changes.into_iter().for_each(|change| layers.newer.set(change));
        drop(layers);
        if let Some(row) = row {
            self.journaled.send_replace(row);
        }
    }

    /// Waits until this process has written a row of the journal after `after`.
    pub(super) async fn journaled(&self, after: Position) {
        // It cannot fail: the sender lives in `self`.
        let _ = self.journaled.subscribe().wait_for(|last| *last > after).await;
    }

    /// Starts a new layer and returns the one before, which stays visible until [`Layers::applied`].
    pub(super) fn rotate(&self) -> Arc<Overlay> {
        let mut layers = self.layers.write().unwrap_or_else(PoisonError::into_inner);
        let older = Arc::new(std::mem::take(&mut layers.newer));
        layers.older = Some(Arc::clone(&older));
        older
    }

    /// Drops the older layer, which the tables have now.
    pub(super) fn applied(&self) {
        self.layers.write().unwrap_or_else(PoisonError::into_inner).older = None;
    }

    /// Whether a layer is still to be applied to the tables.
    pub(super) fn is_checkpointing(&self) -> bool {
        self.layers().older.is_some()
    }

    /// The time and result of the last write to the tables.
    pub(super) fn tables_written(&self) -> (Instant, Result<(), StoreError>) {
        self.tables_written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note_written(&self, ended: Result<(), StoreError>) {
        let now = (Instant::now(), ended);
        *self.tables_written.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Snapshot {
    /// At most `limit` records of a bucket from `from` on whose keys begin with `prefix`, in key
    /// order; fewer only at the end.
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
