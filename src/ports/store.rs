//! Durable records with compare-and-set: the shared truth of all nodes.

use std::time::Duration;

use fido_relay_proto::UnixMillis;
use futures::future::BoxFuture;

use super::batch::Batch;
use super::due::DueRecord;
use super::journal::{Position, Row};
use super::stored::{Bucket, Duty, Revision, StoreError, Stored};

/// How often the journal is looked at, in a store that does not say when there is a new row.
const JOURNAL_POLL: Duration = Duration::from_millis(50);

/// Records with compare-and-set. `Ok` of a write means that it survives a crash of the process
/// and of the machine.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The record, if there is one. It has seen every write that was acknowledged before the call.
    ///
    /// For [`Bucket::Ceremonies`] alone a backend whose readers lag may for a moment give the
    /// version before, though never none for one: a writer that decides on it meets a conflict when
    /// it saves, and a reader gets a notice. The embedded backends never do.
    fn load<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Stored>, StoreError>>;

    /// Whether this process is the only one that writes to it, so that a copy of what it committed
    /// is exact.
    fn is_exclusive(&self) -> bool {
        false
    }

    /// Makes every change of the batch, or none of them. All records that it writes get the same
    /// revision, which is given back. Every error means that nothing was and nothing will be
    /// changed.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// At most `limit` rows of the journal after `after`, in their order. A row that is given has
    /// been committed durably, and none will appear before it.
    fn journal(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        Box::pin(async move {
            let rows = self.page(Bucket::Journal, &after.key(), limit).await?;
            rows.into_iter().map(|(_, stored)| Row::parse(stored)).collect()
        })
    }

    /// Resolves once there may be a row after `after`. By itself a store says so in a moment:
    /// a waiting reader looks again.
    fn journaled(&self, after: Position) -> BoxFuture<'_, ()> {
        let _ = after;
        Box::pin(tokio::time::sleep(JOURNAL_POLL))
    }

    /// Commits one record's new value.
    fn save<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
        expected: Revision,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        self.commit(Batch::new().put(bucket, key, expected, value))
    }

    /// Commits one record's removal.
    fn remove<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
        expected: Revision,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let removed = self.commit(Batch::new().remove(bucket, key, expected));
        Box::pin(async move { removed.await.map(drop) })
    }

    /// Every record whose key begins with `prefix`, in key order.
    fn list<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>>;

    /// At most `limit` records whose key comes after `after` (empty: from the first), in key
    /// order: for walks over a bucket of any size. A backend that can do it without listing
    /// everything does.
    fn page<'a>(
        &'a self,
        bucket: Bucket,
        after: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(async move {
            let mut all = self.list(bucket, "").await?;
            all.retain(|(key, _)| key.as_str() > after);
            all.truncate(limit);
            Ok(all)
        })
    }

    /// At most `limit` records that are due for `duty` at `until` or before, earliest first, and
    /// of these those after `after`. A backend that can do it without listing everything does.
    fn due<'a>(
        &'a self,
        duty: Duty,
        until: UnixMillis,
        after: Option<&'a DueRecord>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DueRecord>, StoreError>> {
        Box::pin(async move {
            let mut found = Vec::new();
            for bucket in Bucket::ALL {
                for (key, stored) in self.list(bucket, "").await? {
                    if let Some(due) = stored.due.filter(|due| due.duty == duty && due.at <= until)
                    {
                        let revision = stored.revision;
                        found.push(DueRecord { at: due.at, bucket, key, revision });
                    }
                }
            }
            found.retain(|record| after.is_none_or(|after| record > after));
            found.sort_unstable();
            found.truncate(limit);
            Ok(found)
        })
    }

    /// Whether writes reach the disk at the moment: how the last one ended, or a trial if that is
    /// some seconds ago. For readiness, so it may be asked as often as a balancer does.
    fn writable(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }

    /// Resolves once everything will be refused with [`StoreError::Fenced`], with the finding and
    /// its remedy. Never, for a store that cannot be damaged.
    fn damaged(&self) -> BoxFuture<'_, String> {
        Box::pin(std::future::pending())
    }
}
