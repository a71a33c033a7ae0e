//! Recovery at opening: changes in the log that the tables lack are applied to them, then a new log
//! file is begun.
//!
//! The tables name the log file that continues where they end ([`Meta`]). If that file is missing or
//! continues elsewhere, tables and log are not of one store at one time, and acknowledged writes
//! would be lost: the store is refused as damaged.

use super::database::{Database, StoreOpenError};
use super::log::{self, LogContent, LogFile, LogHead, ReadError};
use super::overlay::Overlay;
use super::store_file::{LogSlot, OpenStoreFile, StoreFile};
use super::tables::{LogState, Meta, TablesWriter};
use crate::security::random;

/// Applies the log to the tables, and begins a new log file.
pub(super) fn open_log(
    database: &Database,
    mut meta: Meta,
    parts: &OpenStoreFile,
) -> Result<(Meta, LogFile), StoreOpenError> {
    let damaged =
        |reason: String| StoreOpenError::Damaged { path: database.path().to_owned(), reason };
    if meta.log == LogState::Open {
        let mut overlay = Overlay::default();
        let mut generation = meta.generation;
        let mut read_on = Some(read(parts, generation, meta.opening).map_err(&damaged)?);
        while let Some(content) = read_on {
            let Some(LogContent { head, frames }) = content else {
                return Err(damaged(format!("its log of generation {generation} is missing")));
            };
            if head.first != meta.first {
                // The file of a rotation that failed halfway: writes continued in the one before.
                if generation > meta.generation && frames.is_empty() {
                    break;
                }
                return Err(damaged("its log is of another time than its tables".to_owned()));
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
    let failed = |source| StoreOpenError::Io { path: database.path().to_owned(), source };
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

/// Writes the tables' metadata, and the overlay's changes if one is given, durably.
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
