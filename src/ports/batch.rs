//! Changes that a store makes together or not at all. It knows no record's meaning.

use super::stored::{Bucket, Due, RecordName, Revision, StoreError};

/// Most changes of one batch.
pub const MAX_CHANGES: usize = 64;
/// Most bytes of all values of one batch.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Changes that are committed together: all of them, if every record is at its expected revision,
/// or none. Each record is named at most once. Entries say in the journal what happened.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Batch {
    changes: Vec<Change>,
    entries: Vec<String>,
}

/// What one record must be, and becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub bucket: Bucket,
    /// The record's key within the bucket.
    pub key: Box<str>,
    /// The revision that the record must have ([`Revision::ABSENT`]: there must be none).
    pub expected: Revision,
    /// What becomes of it.
    pub write: Write,
}

/// What a batch does to a record.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Nothing: the record must only be at its expected revision.
    Check,
    /// The record's new value, and what it is due for from now on.
    Put { value: Vec<u8>, due: Option<Due> },
    /// The record is removed.
    Remove,
}

impl std::fmt::Debug for Write {
    /// Leaves out values: records hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Check => f.write_str("Check"),
            Self::Put { value, due } => write!(f, "Put({} bytes, {due:?})", value.len()),
            Self::Remove => f.write_str("Remove"),
        }
    }
}

impl std::fmt::Debug for Batch {
    /// Leaves out entries: with receipts they hold a card's answer.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { changes, entries } = self;
        write!(f, "Batch({changes:?}, {} entries)", entries.len())
    }
}

impl Batch {
    /// A batch that changes nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition on a record that the batch does not write.
    #[must_use]
    pub fn check(self, bucket: Bucket, key: &str, expected: Revision) -> Self {
        self.with(bucket, key, expected, Write::Check)
    }

    /// Adds a new value of a record that is due for nothing.
    #[must_use]
    pub fn put(self, bucket: Bucket, key: &str, expected: Revision, value: Vec<u8>) -> Self {
        self.put_due(bucket, key, expected, value, None)
    }

    /// Adds a new value of a record, and what it is due for.
    #[must_use]
    pub fn put_due(
        self,
        bucket: Bucket,
        key: &str,
        expected: Revision,
        value: Vec<u8>,
        due: Option<Due>,
    ) -> Self {
        self.with(bucket, key, expected, Write::Put { value, due })
    }

    /// Adds the removal of a record.
    #[must_use]
    pub fn remove(self, bucket: Bucket, key: &str, expected: Revision) -> Self {
        self.with(bucket, key, expected, Write::Remove)
    }

    fn with(mut self, bucket: Bucket, key: &str, expected: Revision, write: Write) -> Self {
        self.changes.push(Change { bucket, key: key.into(), expected, write });
        self
    }

    /// Adds an entry of the journal: a JSON object without line feeds.
    #[must_use]
    pub fn entry(mut self, entry: String) -> Self {
        self.entries.push(entry);
        self
    }

    /// Adds what another batch changes and says; neither may name a record of the other.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.changes.extend(other.changes);
        self.entries.extend(other.entries);
        self
    }

    /// Whether it changes, checks and says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.entries.is_empty()
    }

    /// Its changes, in the order in which they were added.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Its entries of the journal, in their order.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn entries(&self) -> &[String] {
        &self.entries
    }

    /// Its changes and its entries.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Change>, Vec<String>) {
        (self.changes, self.entries)
    }

    /// Refuses what not every store could commit, before any of it is tried.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: a key that breaks [`Bucket`]'s rule or is named twice, neither
    /// change nor entry, more than [`MAX_CHANGES`] of one of them, more than [`MAX_BYTES`].
    pub fn validate(&self) -> Result<(), StoreError> {
        let Self { changes, entries } = self;
        let bytes: usize = changes.iter().map(|change| change.write.len()).sum::<usize>()
            + entries.iter().map(String::len).sum::<usize>();
        let is_twice = |(at, change): (usize, &Change)| {
            changes[..at]
                .iter()
                .any(|other| (other.bucket, &other.key) == (change.bucket, &change.key))
        };
        let fault = if !changes.iter().all(|change| is_portable(&change.key)) {
            "the key is not one that every store can keep"
        } else if changes.iter().enumerate().any(is_twice) {
            "a batch names a record twice"
        } else if self.is_empty()
            || changes.len().max(entries.len()) > MAX_CHANGES
            || bytes > MAX_BYTES
        {
            "a batch is empty or too large"
        } else {
            return Ok(());
        };
        Err(StoreError::Unavailable(fault.to_owned()))
    }
}

impl Change {
    /// Which record it is about.
    #[must_use]
    pub fn name(&self) -> RecordName {
        RecordName { bucket: self.bucket, key: self.key.clone() }
    }
}

impl Write {
    fn len(&self) -> usize {
        match self {
            Self::Put { value, .. } => value.len(),
            Self::Check | Self::Remove => 0,
        }
    }
}

fn is_portable(key: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._=-".contains(&b);
    (1..=200).contains(&key.len()) && key.bytes().all(allowed)
}
