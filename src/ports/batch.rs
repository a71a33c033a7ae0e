//! Changes that a store makes together or not at all. It knows no record's meaning.

use super::due::Due;
use super::store::{Bucket, RecordName, Revision, StoreError};

/// Most changes of one batch.
pub const MAX_CHANGES: usize = 64;
/// Most bytes of all values of one batch.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Changes that are committed together: all of them, if every record is at its expected revision,
/// or none. Each record is named at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch(Vec<Change>);

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
        self.0.push(Change { bucket, key: key.into(), expected, write });
        self
    }

    /// Whether it changes and checks nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it writes or checks this record.
    #[must_use]
    pub fn names(&self, record: &RecordName) -> bool {
        self.0.iter().any(|change| (change.bucket, &change.key) == (record.bucket, &record.key))
    }

    /// Its changes, in the order in which they were added.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.0
    }

    #[must_use]
    pub fn into_changes(self) -> Vec<Change> {
        self.0
    }

    /// Refuses what not every store could commit, before any of it is tried.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: a key that breaks [`Bucket`]'s rule or is named twice, no
    /// change or more than [`MAX_CHANGES`], more than [`MAX_BYTES`].
    pub fn validate(&self) -> Result<(), StoreError> {
        let bytes: usize = self.0.iter().map(|change| change.write.len()).sum();
        let is_twice = |(at, change): (usize, &Change)| {
            self.0[..at]
                .iter()
                .any(|other| (other.bucket, &other.key) == (change.bucket, &change.key))
        };
        let fault = if !self.0.iter().all(|change| is_portable(&change.key)) {
            "the key is not one that every store can keep"
        } else if self.0.iter().enumerate().any(is_twice) {
            "a batch names a record twice"
        } else if !(1..=MAX_CHANGES).contains(&self.0.len()) || bytes > MAX_BYTES {
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
