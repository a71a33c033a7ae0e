//! Durable records with compare-and-set, the one truth that nodes share.

use std::time::Duration;

use fido_relay_proto::UnixMillis;
use futures::future::BoxFuture;

use super::batch::Batch;
use super::due::{Due, DueRecord, Duty};
use super::journal::{Position, Row};

/// How often the journal is looked at, in a store that does not say when there is a new row.
const JOURNAL_POLL: Duration = Duration::from_millis(50);

/// A kind of record. Keys within a bucket are the caller's: `A-Z a-z 0-9 . _ = -`, at most 200 bytes,
/// so that they are also safe in a message subject. The numbers are what files hold: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Bucket {
    /// Ceremonies by id.
    Ceremonies = 0,
    /// What an idempotency key stands for.
    Idempotency = 1,
    /// Devices by id.
    Devices = 2,
    /// What belongs to a user: device ids.
    Users = 3,
    /// Pairing tokens by their hash.
    Pairings = 4,
    /// Initiators by id.
    Clients = 5,
    /// Initiators' API keys by their hash.
    ApiKeys = 6,
    /// How much of each user's attention was asked for.
    Standings = 7,
    /// The built-in FIDO2 server's credentials.
    Credentials = 8,
    /// The relay's own keys by their name.
    Keys = 9,
    /// Webhook endpoints by tenant, client and id.
    Webhooks = 10,
    /// What webhook endpoints have still to be told, and what could not be told.
    Outbox = 11,
    /// What webhook endpoints were told, so that nothing is told anew.
    Delivered = 12,
    /// Event tickets that were used, by their name.
    EventTickets = 13,
    /// Client assertions that were used, by hash.
    Assertions = 14,
    /// Rows of the journal by position: written by the store itself.
    Journal = 15,
    /// How far each reader of the journal has come, by its name.
    Cursors = 16,
    /// Which device has a push address, by its service and token.
    PushAddresses = 17,
}

impl Bucket {
    pub const ALL: [Self; 18] = [
        Self::Ceremonies,
        Self::Idempotency,
        Self::Devices,
        Self::Users,
        Self::Pairings,
        Self::Clients,
        Self::ApiKeys,
        Self::Standings,
        Self::Credentials,
        Self::Keys,
        Self::Webhooks,
        Self::Outbox,
        Self::Delivered,
        Self::EventTickets,
        Self::Assertions,
        Self::Journal,
        Self::Cursors,
        Self::PushAddresses,
    ];

    /// The bucket's name in a backend.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ceremonies => "ceremonies",
            Self::Idempotency => "idempotency",
            Self::Devices => "devices",
            Self::Users => "users",
            Self::Pairings => "pairings",
            Self::Clients => "clients",
            Self::ApiKeys => "api_keys",
            Self::Standings => "standings",
            Self::Credentials => "credentials",
            Self::Keys => "keys",
            Self::Webhooks => "webhooks",
            Self::Outbox => "outbox",
            Self::Delivered => "delivered",
            Self::EventTickets => "event_tickets",
            Self::Assertions => "assertions",
            Self::Journal => "journal",
            Self::Cursors => "cursors",
            Self::PushAddresses => "push_addresses",
        }
    }
}

/// Orders the writes to one key: a later write has a larger revision, also when the key was
/// removed between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// Expected of a key that must not exist.
    pub const ABSENT: Self = Self(0);
}

/// A record with its revision. Its `Debug` tells the length alone: records hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Which write this is.
    pub revision: Revision,
    pub value: Vec<u8>,
    /// What it is due for.
    pub due: Option<Due>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { revision, value, due } = self;
        write!(f, "Stored({revision:?}, {} bytes, {due:?})", value.len())
    }
}

/// A record by its bucket and key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName {
    pub bucket: Bucket,
    pub key: Box<str>,
}

impl std::fmt::Display for RecordName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.bucket.name(), self.key)
    }
}

/// Why a store did not do it. A commit that ends with an error has changed nothing, and never
/// will: the backend settles the fate of a write before it answers. Where it cannot, it answers
/// [`StoreError::Fenced`], and the next start decides.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// This record was not at its expected revision: another write came first. Load again, decide
    /// again.
    #[error("{0} was changed meanwhile")]
    Conflict(RecordName),
    /// The store cannot do it now. The text is for the log.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// This process may use the store no more and must end: the records are damaged, or the fate
    /// of a write could not be settled. The text is for the log.
    #[error("the store is closed to this process: {0}")]
    Fenced(String),
}

impl StoreError {
    /// Too many writes of others came first, one after the other.
    #[must_use]
    pub fn too_many_races() -> Self {
        Self::Unavailable("too many races for one record".to_owned())
    }
}

/// Records with compare-and-set. `Ok` of a write means that it survives a crash of the process
/// and of the machine.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The record, if there is one. It has seen every write that was acknowledged before the call.
    ///
    /// For [`Bucket::Ceremonies`] alone a backend whose readers lag may for a moment give the
    /// version before, though never none for one: who decides on it meets a conflict when saving,
    /// who only looks is told to look again. The embedded backends never do.
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
    /// whoever waits looks again.
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

    /// Resolves once everything will be refused with [`StoreError::Fenced`], with what was found
    /// and what an operator can do. Never, for a store that cannot be damaged.
    fn damaged(&self) -> BoxFuture<'_, String> {
        Box::pin(std::future::pending())
    }
}
