//! The tables: all records, the index of due records, and the position from which the log continues.

use std::ops::Bound;
use std::sync::OnceLock;

use fido_relay_proto::UnixMillis;
use redb::{
    ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable as _, Table,
    TableDefinition, WriteTransaction,
};

use super::overlay::{LayerEntry, Overlay};
use super::payload::{bucket_of, duty_of};
use crate::ports::{Bucket, Due, DueRecord, Duty, Revision, Stored};

type RecordKey = (u8, &'static str);
/// Revision, duty (0: none), its time, and the value.
type RecordRow = (u64, u8, u64, &'static [u8]);
/// Duty, time, bucket and key.
type DueKey = (u8, u64, u8, &'static str);

const RECORDS: TableDefinition<'static, RecordKey, RecordRow> = TableDefinition::new("records");
const DUE: TableDefinition<'static, DueKey, u64> = TableDefinition::new("due");
/// Versions before 0.2 had a table of this name and another type, so they refuse this file.
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
const META_KEY: &str = "store";

/// Whether the log holds changes that the tables lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogState {
    /// It holds none: every change is in the tables, and the log's files are of an earlier time.
    Empty,
    /// The file of [`Meta::generation`] may hold some, and so may the next one.
    Open,
    /// As empty, and records of an earlier format have yet to be moved.
    Migrating,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// The opening that began the log ([`LogHead::opening`](super::log::Head)).
    pub(super) opening: [u8; 16],
    /// The last revision that was given.
    pub(super) revision: u64,
    /// The log's file that goes on where the tables end.
    pub(super) generation: u64,
    /// The number of its first frame.
    pub(super) first: u64,
    pub(super) log: LogState,
}

impl Meta {
    fn encode(&self) -> Vec<u8> {
        let log = match self.log {
            LogState::Empty => 0_u8,
            LogState::Open => 1,
            LogState::Migrating => 2,
        };
        let numbers = [self.revision, self.generation, self.first].map(u64::to_le_bytes);
        [self.opening.as_slice(), numbers.as_flattened(), &[log]].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (opening, rest) = bytes.split_first_chunk::<16>()?;
        let (revision, rest) = rest.split_first_chunk::<8>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let log = match rest {
            [0] => LogState::Empty,
            [1] => LogState::Open,
            [2] => LogState::Migrating,
            _ => return None,
        };
        Some(Self {
            opening: *opening,
            revision: u64::from_le_bytes(*revision),
            generation: u64::from_le_bytes(*generation),
            first: u64::from_le_bytes(*first),
            log,
        })
    }

    /// `None` if the tables are new.
    pub(super) fn read(transaction: &WriteTransaction) -> Result<Option<Self>, redb::Error> {
        let table = transaction.open_table(META)?;
        let Some(found) = table.get(META_KEY)? else { return Ok(None) };
        let meta = Self::decode(found.value());
        meta.map(Some).ok_or_else(|| corrupted("the table `meta` cannot be decoded"))
    }

    /// The opening that the tables belong to, if it can be read.
    pub(super) fn opening(database: &redb::Database) -> Option<[u8; 16]> {
        let table = database.begin_read().ok()?.open_table(META).ok()?;
        Some(Self::decode(table.get(META_KEY).ok()??.value())?.opening)
    }

    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut table = transaction.open_table(META)?;
        table.insert(META_KEY, self.encode().as_slice())?;
        Ok(())
    }
}

/// The records and their due index, open for writing.
pub(super) struct TablesWriter<'t> {
    records: Table<'t, RecordKey, RecordRow>,
    due: Table<'t, DueKey, u64>,
}

impl<'t> TablesWriter<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let (records, due) = (transaction.open_table(RECORDS)?, transaction.open_table(DUE)?);
        Ok(Self { records, due })
    }

    /// Writes or removes a record together with its index entry.
    pub(super) fn set(
        &mut self,
        bucket: Bucket,
        key: &str,
        entry: &LayerEntry,
    ) -> Result<(), redb::Error> {
        let name = (bucket as u8, key);
        let before = match entry {
            Some(Stored { revision, value, due }) => {
                let (duty, at) = due.map_or((0, 0), |due| (due.duty as u8, due.at.0));
                if duty != 0 {
                    self.due.insert((duty, at, bucket as u8, key), revision.0)?;
                }
                let before = self.records.insert(name, (revision.0, duty, at, value.as_slice()))?;
                before.map(|row| (row.value().1, row.value().2)).filter(|was| *was != (duty, at))
            }
            None => {
                let before = self.records.remove(name)?;
                before.map(|row| (row.value().1, row.value().2))
            }
        };
        if let Some((duty, at)) = before.filter(|(duty, _)| *duty != 0) {
            self.due.remove((duty, at, bucket as u8, key))?;
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, overlay: &Overlay) -> Result<(), redb::Error> {
        overlay.iter().try_for_each(|(bucket, key, entry)| self.set(bucket, key, entry))
    }
}

/// A snapshot of the tables.
pub(super) struct TablesReader {
    transaction: ReadTransaction,
    records: OnceLock<ReadOnlyTable<RecordKey, RecordRow>>,
}

impl TablesReader {
    pub(super) fn new(transaction: ReadTransaction) -> Self {
        Self { transaction, records: OnceLock::new() }
    }

    fn records(&self) -> Result<&ReadOnlyTable<RecordKey, RecordRow>, redb::Error> {
        if let Some(table) = self.records.get() {
            return Ok(table);
        }
        let table = self.transaction.open_table(RECORDS)?;
        Ok(self.records.get_or_init(|| table))
    }

    pub(super) fn get(&self, bucket: Bucket, key: &str) -> Result<LayerEntry, redb::Error> {
        let row = self.records()?.get((bucket as u8, key))?;
        row.map(|row| stored(row.value())).transpose()
    }

    /// The records of a bucket from `from`, in key order.
    pub(super) fn range(
        &self,
        bucket: Bucket,
        from: Bound<&str>,
    ) -> Result<impl Iterator<Item = Result<(String, Stored), redb::Error>>, redb::Error> {
        let number = bucket as u8;
        let from = from.map(|key| (number, key));
        let rows = self.records()?.range::<(u8, &str)>((from, Bound::Unbounded))?;
        let rows = rows.map(move |row| {
            let (name, row) = row?;
            let (of, key) = name.value();
            let stored = stored(row.value())?;
            Ok((of == number).then(|| (key.to_owned(), stored)))
        });
        Ok(rows.map_while(Result::transpose))
    }

    /// The records due for `duty` until `until`, after `after`, in order.
    pub(super) fn due(
        &self,
        duty: Duty,
        until: UnixMillis,
        after: Option<&DueRecord>,
    ) -> Result<impl Iterator<Item = Result<DueRecord, redb::Error>>, redb::Error> {
        let number = duty as u8;
        let from = match after {
            Some(DueRecord { at, bucket, key, .. }) => {
                Bound::Excluded((number, at.0, *bucket as u8, key.as_str()))
            }
            None => Bound::Included((number, 0, 0, "")),
        };
        let table = self.transaction.open_table(DUE)?;
        let rows = table.range::<(u8, u64, u8, &str)>((from, Bound::Unbounded))?;
        let rows = rows.map(move |row| {
            let (name, revision) = row?;
            let (of, at, bucket, key) = name.value();
            if of != number || at > until.0 {
                return Ok(None);
            }
            let bucket = bucket_of(bucket).ok_or_else(|| corrupted("an unknown bucket"))?;
            let (at, key) = (UnixMillis(at), key.to_owned());
            Ok(Some(DueRecord { at, bucket, key, revision: Revision(revision.value()) }))
        });
        Ok(rows.map_while(Result::transpose))
    }
}

fn stored((revision, duty, at, value): (u64, u8, u64, &[u8])) -> Result<Stored, redb::Error> {
    let due = match duty {
        0 => None,
        duty => {
            let duty = duty_of(duty).ok_or_else(|| corrupted("an unknown duty"))?;
            Some(Due { duty, at: UnixMillis(at) })
        }
    };
    Ok(Stored { revision: Revision(revision), value: value.to_vec(), due })
}

pub(super) fn corrupted(what: &str) -> redb::Error {
    redb::Error::Corrupted(what.to_owned())
}
