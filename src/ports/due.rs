//! What time alone asks of a record: a store keeps these in order of time, so that finding what is
//! due costs in proportion to that, whatever else is stored.

use fido_relay_proto::UnixMillis;

use super::store::{Bucket, Revision};

/// What has to be done with a record once its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Duty {
    /// An open ceremony closes. Every open ceremony has this duty.
    Close = 1,
    /// The record is removed: its retention is over.
    Remove = 2,
}

impl Duty {
    /// In the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Close, Self::Remove];
}

/// A record's duty and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Due {
    pub duty: Duty,
    pub at: UnixMillis,
}

/// A record that is due, as the index names it. Ordered as a store gives them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DueRecord {
    pub at: UnixMillis,
    pub bucket: Bucket,
    pub key: String,
    /// The revision whose value is due; a later one has its own entry, or none.
    pub revision: Revision,
}

impl Due {
    /// Removal at this time.
    #[must_use]
    pub const fn removal(at: UnixMillis) -> Self {
        Self { duty: Duty::Remove, at }
    }
}

/// Reads out of a bucket's stored values what each is due for: to index records that were written
/// without it.
#[derive(Clone, Copy, Debug)]
pub struct DueRule {
    pub bucket: Bucket,
    pub due: fn(&[u8]) -> Option<Due>,
}
