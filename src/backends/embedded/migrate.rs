//! Migration from the format of version 0.1: a table per bucket, without due times and without a
//! log. Records are moved in chunks, each in one transaction, so that an interrupted start continues.

use redb::{Database, ReadableTable as _, TableDefinition, TableHandle as _, WriteTransaction};

use super::tables::{LogState, Meta, TablesWriter};
use crate::ports::{Bucket, DueRule, Revision, Stored};

/// The earlier version's table of the last assigned revision.
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const REVISION: &str = "revision";
/// Records of one transaction.
const CHUNK: usize = 4_000;

fn records(bucket: Bucket) -> TableDefinition<'static, &'static str, (u64, &'static [u8])> {
    TableDefinition::new(bucket.name())
}

/// Migrates tables of any version to this one's, and makes those of a new file.
pub(super) fn migrate(database: &Database, rules: &[DueRule]) -> Result<Meta, redb::Error> {
    let mut meta = prepare(database)?;
    if meta.log == LogState::Migrating {
        let mut moved = 0;
        for bucket in Bucket::ALL {
            let rule = rules.iter().find(|rule| rule.bucket == bucket);
            while let Some(some) = move_some(database, bucket, rule)? {
                moved += some;
            }
        }
        meta.log = LogState::Empty;
        let transaction = database.begin_write()?;
        meta.write(&transaction)?;
        transaction.commit()?;
        tracing::info!(records = moved, "store of an earlier version migrated");
    }
    Ok(meta)
}

/// The tables' metadata, made if it is missing. In a file of an earlier version that is the first
/// change: from then on that version refuses the file.
fn prepare(database: &Database) -> Result<Meta, redb::Error> {
    let transaction = database.begin_write()?;
    let is_earlier = has_table(&transaction, records(Bucket::Ceremonies).name())?
        && transaction.open_table(META).is_ok();
    let known = if is_earlier { None } else { Meta::read(&transaction)? };
    let meta = match known {
        Some(meta) => meta,
        None => {
            let (revision, log) = if is_earlier {
                (take_revision(&transaction)?, LogState::Migrating)
            } else {
                (0, LogState::Empty)
            };
            Meta { opening: [0; 16], revision, generation: 0, first: 1, log }
        }
    };
    drop(TablesWriter::open(&transaction)?);
    meta.write(&transaction)?;
    transaction.commit()?;
    Ok(meta)
}

/// Removes the earlier version's counter and returns its value.
fn take_revision(transaction: &WriteTransaction) -> Result<u64, redb::Error> {
    let table = transaction.open_table(META)?;
    let revision = table.get(REVISION)?.map_or(0, |revision| revision.value());
    drop(table);
    transaction.delete_table(META)?;
    Ok(revision)
}

fn has_table(transaction: &WriteTransaction, name: &str) -> Result<bool, redb::Error> {
    Ok(transaction.list_tables()?.any(|table| table.name() == name))
}

/// Moves the next chunk of a bucket; `None` once it is empty and its table removed.
fn move_some(
    database: &Database,
    bucket: Bucket,
    rule: Option<&DueRule>,
) -> Result<Option<usize>, redb::Error> {
    let transaction = database.begin_write()?;
    if !has_table(&transaction, bucket.name())? {
        transaction.abort()?;
        return Ok(None);
    }
    let mut moved = 0;
    {
        let mut earlier = transaction.open_table(records(bucket))?;
        let mut tables = TablesWriter::open(&transaction)?;
        while moved < CHUNK {
            let Some((key, row)) = earlier.pop_first()? else { break };
            let (revision, value) = row.value();
            let due = rule.and_then(|rule| (rule.due)(value));
            let stored = Stored { revision: Revision(revision), value: value.to_vec(), due };
            tables.set(bucket, key.value(), &Some(stored))?;
            moved += 1;
        }
    }
    if moved == 0 {
        transaction.delete_table(records(bucket))?;
    }
    transaction.commit()?;
    Ok((moved > 0).then_some(moved))
}
