//! The journal: what happened, in the order in which it was committed, kept in the store until its
//! readers have passed it. It knows no entry's meaning.
//!
//! A store keeps a row for each commit, or for each group of commits that it makes together, as a
//! record of [`Bucket::Journal`]. A row's key is its position, which is also its revision: a later row
//! has a larger one, none is given twice, and once a row was read none appears before it.

use super::batch::Batch;
use super::stored::{Bucket, Revision, StoreError, Stored};

/// Whether what the journal holds is exported as it must be, the worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExportHealth {
    #[default]
    Healthy,
    /// The export fails, and ceremonies continue: the node is not ready.
    Failing,
    /// The export has failed for too long, and nothing may happen unrecorded: nothing new begins,
    /// no code and no answer is taken.
    Blocking,
}

/// The place of a row. 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// What was committed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub position: Position,
    /// JSON objects without line feeds, in their order; at least one.
    pub entries: Vec<String>,
}

impl Position {
    /// The key of the row's record: keys are in the order of positions.
    #[must_use]
    pub fn key(self) -> String {
        format!("{:020}", self.0)
    }
}

impl Row {
    /// The row's record.
    #[must_use]
    pub fn stored(position: Position, entries: &[String]) -> Stored {
        let (revision, value) = (Revision(position.0), entries.join("\n").into_bytes());
        Stored { revision, value, due: None }
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if its value is not the form that was written.
    pub fn parse(stored: Stored) -> Result<Self, StoreError> {
        let position = Position(stored.revision.0);
        let text = String::from_utf8(stored.value).map_err(|_| {
            StoreError::Unavailable(format!("row {} of the journal is damaged", position.0))
        })?;
        Ok(Self { position, entries: text.split('\n').map(str::to_owned).collect() })
    }
}

/// Adds the removal of a row that every reader has passed.
#[must_use]
pub fn remove(batch: Batch, position: Position) -> Batch {
    batch.remove(Bucket::Journal, &position.key(), Revision(position.0))
}
