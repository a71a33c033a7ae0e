//! Records in memory with their due index: the content of [`MemoryStore`](super::MemoryStore), or a
//! layer over the tables. It knows no disk and takes no lock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use fido_relay_proto::UnixMillis;

use crate::ports::{Bucket, DueRecord, Duty, Revision, Stored};

/// The last value of a record, or its removal.
pub(super) type LayerEntry = Option<Stored>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AppliedChange {
    pub(super) bucket: Bucket,
    pub(super) key: Box<str>,
    pub(super) entry: LayerEntry,
}

/// The latest changes by record.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    records: [BTreeMap<Box<str>, LayerEntry>; Bucket::ALL.len()],
    due: BTreeSet<(Duty, UnixMillis, Bucket, Box<str>)>,
}

impl Overlay {
    /// The change of a record; `None` if it has none here.
    pub(super) fn get(&self, bucket: Bucket, key: &str) -> Option<&LayerEntry> {
        self.records[bucket as usize].get(key)
    }

    pub(super) fn set(&mut self, change: AppliedChange) {
        let AppliedChange { bucket, key, entry } = change;
        if let Some(due) = entry.as_ref().and_then(|stored| stored.due) {
            self.due.insert((due.duty, due.at, bucket, key.clone()));
        }
        let before = self.records[bucket as usize].insert(key.clone(), entry);
        let after = self.get(bucket, &key).and_then(|entry| entry.as_ref()?.due);
        if let Some(due) = before.flatten().and_then(|stored| stored.due)
            && Some(due) != after
        {
            self.due.remove(&(due.duty, due.at, bucket, key));
        }
    }

    /// Drops a removal, for an overlay without tables below it.
    #[cfg(feature = "test-support")]
    pub(super) fn forget(&mut self, bucket: Bucket, key: &str) {
        self.records[bucket as usize].remove(key);
    }

    /// Every change, bucket by bucket in key order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Bucket, &str, &LayerEntry)> {
        let buckets = Bucket::ALL.iter().zip(&self.records);
        buckets.flat_map(|(bucket, records)| {
            records.iter().map(move |(key, entry)| (*bucket, &**key, entry))
        })
    }

    /// The records of a bucket from `from`, in key order.
    pub(super) fn range(
        &self,
        bucket: Bucket,
        from: Bound<&str>,
    ) -> impl Iterator<Item = (&str, &LayerEntry)> {
        let range = self.records[bucket as usize].range::<str, _>((from, Bound::Unbounded));
        range.map(|(key, entry)| (&**key, entry))
    }

    /// The records due for `duty` until `until`, after `after`, in order.
    pub(super) fn due(
        &self,
        duty: Duty,
        until: UnixMillis,
        after: Option<&DueRecord>,
    ) -> impl Iterator<Item = DueRecord> {
        let from = match after {
            Some(DueRecord { at, bucket, key, .. }) => {
                Bound::Excluded((duty, *at, *bucket, key.as_str().into()))
            }
            None => Bound::Included((duty, UnixMillis(0), Bucket::ALL[0], "".into())),
        };
        let range = self.due.range((from, Bound::Unbounded));
        let range = range.take_while(move |(of, at, ..)| *of == duty && *at <= until);
        range.filter_map(|(_, at, bucket, key)| {
            let revision = self.get(*bucket, key)?.as_ref()?.revision;
            Some(DueRecord { at: *at, bucket: *bucket, key: key.to_string(), revision })
        })
    }
}

pub(super) fn revision_of(entry: &LayerEntry) -> Revision {
    entry.as_ref().map_or(Revision::ABSENT, |stored| stored.revision)
}
