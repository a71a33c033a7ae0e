//! How far a reader of the journal has come: a record that is committed with what the reader makes
//! of the entries, or after that was flushed elsewhere. It knows no entry's meaning.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::ports::batch::MAX_CHANGES;
use crate::ports::{
    Batch, Bucket, Position, Record, Revision, Row, Store, StoreError, journal, records,
};

/// Rows that are read or removed at a time.
pub const ROWS: usize = 256;
/// Between two removals of what every reader has passed.
const TRIM_EVERY: Duration = Duration::from_secs(5);

/// Where an entry is: the row that it is in, and how many entries of the row are before it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct EntryPosition {
    pub row: u64,
    pub index: u32,
}

impl EntryPosition {
    /// The position after a whole row.
    #[must_use]
    pub const fn behind(row: Position) -> Self {
        Self { row: row.0 + 1, index: 0 }
    }

    /// The last position before this one that is after every earlier entry.
    #[must_use]
    pub const fn before(self) -> Self {
        match self.index.checked_sub(1) {
            Some(index) => Self { row: self.row, index },
            None => Self { row: self.row.saturating_sub(1), index: u32::MAX - 1 },
        }
    }

    /// The position after the entry at this position.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { row: self.row, index: self.index + 1 }
    }
}

impl fmt::Display for EntryPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.row, self.index)
    }
}

/// A text that is no position of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEntryPosition;

impl FromStr for EntryPosition {
    type Err = InvalidEntryPosition;

    fn from_str(text: &str) -> Result<Self, InvalidEntryPosition> {
        let (row, index) = text.split_once('.').ok_or(InvalidEntryPosition)?;
        let (row, index) = (
            row.parse().map_err(|_| InvalidEntryPosition)?,
            index.parse().map_err(|_| InvalidEntryPosition)?,
        );
        Ok(Self { row, index })
    }
}

/// A reader's record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor<T> {
    /// The first entry that it has not passed.
    pub next: EntryPosition,
    /// What else the reader keeps.
    pub of: T,
}

impl<T: Serialize + DeserializeOwned> Record for Cursor<T> {}

/// The rows that a reader's stored cursor has passed.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

/// A reader of the journal. Two that have one name must not run at the same time: the second that
/// saves gets [`StoreError::Conflict`].
#[derive(Debug)]
pub struct JournalReader<T> {
    store: Arc<dyn Store>,
    name: &'static str,
    revision: Revision,
    /// What is stored; none: this reader never read this store.
    stored: Option<Cursor<T>>,
    progress: Progress,
}

impl<T: Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync> JournalReader<T> {
    /// The reader of this name.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(store: Arc<dyn Store>, name: &'static str) -> Result<Self, StoreError> {
        let found = records::load::<Cursor<T>>(&*store, Bucket::Cursors, name).await?;
        let (stored, revision) = match found {
            Some((cursor, revision)) => (Some(cursor), revision),
            None => (None, Revision::ABSENT),
        };
        let row = stored.as_ref().map_or(0, |cursor| cursor.next.row);
        let progress = Progress(Arc::new(AtomicU64::new(row)));
        Ok(Self { store, name, revision, stored, progress })
    }

    /// Its stored cursor; none: this reader never read this store.
    pub const fn stored(&self) -> Option<&Cursor<T>> {
        self.stored.as_ref()
    }

    /// What [`trim`] may remove as far as this reader goes.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// At most [`ROWS`] rows from this place on: of its own row what is behind it.
    ///
    /// # Errors
    /// The store's.
    pub async fn rows(&self, from: EntryPosition) -> Result<Vec<Row>, StoreError> {
        self.store.journal(Position(from.row.saturating_sub(1)), ROWS).await
    }

    /// Waits until there may be an entry at or after this position.
    pub async fn wait(&self, from: EntryPosition) {
        self.store.journaled(Position(from.row.saturating_sub(1))).await;
    }

    /// Commits a batch together with the cursor; gives the store's revision.
    ///
    /// # Errors
    /// The store's; then the cursor is where it was.
    pub async fn save(&mut self, batch: Batch, cursor: Cursor<T>) -> Result<Revision, StoreError> {
        let batch = records::put(batch, Bucket::Cursors, self.name, self.revision, &cursor)?;
        self.revision = self.store.commit(batch).await?;
        self.progress.0.store(cursor.next.row, Ordering::Relaxed);
        self.stored = Some(cursor);
        Ok(self.revision)
    }

    /// [`JournalReader::save`], if the cursor has moved.
    ///
    /// # Errors
    /// As [`JournalReader::save`].
    pub async fn save_moved(&mut self, cursor: Cursor<T>) -> Result<(), StoreError> {
        if self.stored.as_ref() == Some(&cursor) {
            return Ok(());
        }
        self.save(Batch::new(), cursor).await.map(drop)
    }
}

/// The entries of rows from a place on, each with its own.
pub fn entries(rows: &[Row], from: EntryPosition) -> impl Iterator<Item = (EntryPosition, &str)> {
    let placed = rows.iter().flat_map(|Row { position, entries }| {
        let row = position.0;
        (0..).zip(entries).map(move |(index, entry)| (EntryPosition { row, index }, entry.as_str()))
    });
    placed.filter(move |(place, _)| *place >= from)
}

/// Removes the rows that all of these readers have passed, until the relay stops.
pub async fn trim(store: Arc<dyn Store>, readers: Vec<Progress>, stopping: CancellationToken) {
    while stopping.run_until_cancelled(tokio::time::sleep(TRIM_EVERY)).await.is_some() {
        if let Err(error) = trim_once(&*store, &readers).await {
            tracing::warn!(%error, "passed journal entries could not be removed");
        }
    }
}

/// Removes what can be removed now.
///
/// # Errors
/// The store's.
pub async fn trim_once(store: &dyn Store, readers: &[Progress]) -> Result<(), StoreError> {
    let Some(passed) = readers.iter().map(|reader| reader.0.load(Ordering::Relaxed)).min() else {
        return Ok(());
    };
    loop {
        let rows = store.page(Bucket::Journal, "", ROWS).await?;
        let gone: Vec<_> =
            rows.into_iter().map(|(_, stored)| Position(stored.revision.0)).collect();
        let gone: Vec<_> = gone.into_iter().take_while(|row| row.0 < passed).collect();
        let batches = gone
            .chunks(MAX_CHANGES)
            .map(|rows| store.commit(rows.iter().copied().fold(Batch::new(), journal::remove)));
        join_all(batches).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        if gone.len() < ROWS {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::embedded::MemoryStore;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let place = EntryPosition { row: 1_234, index: 5 };
        assert_eq!((place.to_string().as_str(), "1234.5".parse()), ("1234.5", Ok(place)));
        for text in ["", "1234", ".5", "1234.", "a.b"] {
            assert_eq!(text.parse::<EntryPosition>(), Err(InvalidEntryPosition), "{text}");
        }
    }

    #[tokio::test]
    async fn rows_go_once_every_reader_has_passed_them() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        for number in 0..600 {
            store.commit(Batch::new().entry(format!("{{\"n\":{number}}}"))).await.unwrap();
        }
        let mut readers = Vec::new();
        for name in ["one", "other"] {
            readers.push(JournalReader::<()>::open(Arc::clone(&store), name).await.unwrap());
        }
        let progress: Vec<_> = readers.iter().map(JournalReader::progress).collect();
        for (reader, row, left) in [(0, 500, 600), (1, 301, 300), (1, 601, 101)] {
            let next = EntryPosition { row, index: 0 };
            readers[reader].save_moved(Cursor { next, of: () }).await.unwrap();
            trim_once(&*store, &progress).await.unwrap();
            assert_eq!(store.list(Bucket::Journal, "").await.unwrap().len(), left);
        }
        let from = EntryPosition { row: 500, index: 0 };
        let rows = readers[0].rows(from).await.unwrap();
        let first = entries(&rows, from).next().unwrap();
        assert_eq!(first, (EntryPosition { row: 500, index: 0 }, "{\"n\":499}"));
    }
}
