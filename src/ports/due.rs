//! The index of due records. A store keeps it in order of time, so that the cost of finding due
//! records does not depend on the number of others.

use fido_relay_proto::UnixMillis;

use super::stored::{Bucket, Due, Revision};

/// A record that is due, as the index names it. Ordered as a store gives them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DueRecord {
    pub at: UnixMillis,
    pub bucket: Bucket,
    pub key: String,
    /// The revision whose value is due; a later one has its own entry, or none.
    pub revision: Revision,
}

/// Reads out of a bucket's stored values what each is due for: to index records that were written
/// without it.
#[derive(Clone, Copy, Debug)]
pub struct DueRule {
    pub bucket: Bucket,
    pub due: fn(&[u8]) -> Option<Due>,
}
