//! Opening the log: what the tables lack of it is brought into them, then a file is begun anew.
//!
//! The tables say which file goes on where they end ([`Meta`]). If that file is not there, or does
//! not go on there, tables and log are not of one store and moment, and acknowledged writes would be
//! missing: the store is refused as damaged.

use super::database::{Database, OpenError};
use super::log::{self, LogContent, LogFile, LogHead, ReadError};
use super::overlay::Overlay;
use super::store_file::{LogSlot, OpenStoreFile, StoreFile};
use super::tables::{LogState, Meta, TablesWriter};
use crate::security::random;

/// Brings the tables up to the log, and begins a file.
pub(super) fn open_log(
    database: &Database,
    mut meta: Meta,
    parts: &OpenStoreFile,
) -> Result<(Meta, LogFile), OpenError> {
    let damaged = |reason: String| OpenError::Damaged { path: database.path().to_owned(), reason };
    if meta.log == LogState::Open {
        let mut overlay = Overlay::default();
        let mut generation = meta.generation;
        let mut read_on = Some(read(parts, generation, meta.opening).map_err(&damaged)?);
        while let Some(content) = read_on {
            let Some(LogContent { head, frames }) = content else {
                return Err(damaged(format!("its log of generation {generation} is missing")));
            };
            if head.first != meta.first {
                // A file that was begun in vain, while the one before it went on.
                if generation > meta.generation && frames.is_empty() {
                    break;
                }
                return Err(damaged("its log is of another moment".to_owned()));
            }
            for frame in frames {
                meta.first += 1;
                meta.revision = frame.revision;
                frame.changes.into_iter().for_each(|change| overlay.set(change));
            }
            meta.generation = generation;
            generation += 1;
            let next = read(parts, generation, meta.opening).map_err(&damaged)?;
            read_on = next.map(Some);
        }
        meta.log = LogState::Empty;
        write(database, meta, Some(&overlay)).map_err(&damaged)?;
    }
    meta.generation += 1;
    meta.opening = random::bytes();
    let head = LogHead { opening: meta.opening, generation: meta.generation, first: meta.first };
    let failed = |source| OpenError::Io { path: database.path().to_owned(), source };
    let log = parts(StoreFile::Log(LogSlot::of(head.generation)))
        .and_then(|file| LogFile::begin(file, head))
        .map_err(failed)?;
    meta.log = LogState::Open;
    write(database, meta, None).map_err(damaged)?;
    Ok((meta, log))
}

fn read(
    parts: &OpenStoreFile,
    generation: u64,
    opening: [u8; 16],
) -> Result<Option<LogContent>, String> {
    let file = parts(StoreFile::Log(LogSlot::of(generation))).map_err(|error| error.to_string())?;
    let content = log::read(&*file).map_err(|error: ReadError| error.to_string());
    drop(file.close());
    let is_its = |content: &LogContent| {
        content.head.generation == generation && content.head.opening == opening
    };
    Ok(content?.filter(is_its))
}

fn write(database: &Database, meta: Meta, overlay: Option<&Overlay>) -> Result<(), String> {
    let written = database.guard(|| write_tables(database, meta, overlay));
    written.map_err(|error| error.to_string())
}

/// Writes what the tables say of themselves, with changes that they lack, durably.
pub(super) fn write_tables(
    database: &Database,
    meta: Meta,
    overlay: Option<&Overlay>,
) -> Result<(), redb::Error> {
    let transaction = database.write()?;
    if let Some(overlay) = overlay {
        TablesWriter::open(&transaction)?.apply(overlay)?;
    }
    meta.write(&transaction)?;
    transaction.commit()?;
    Ok(())
}
