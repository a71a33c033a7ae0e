//! What a store must hold, decided by a model that applies batches one after the other.

use std::collections::BTreeMap;

use fido_relay::ports::{
    Batch, Bucket, DueRecord, Duty, RecordName, Revision, Store, StoreError, Stored, Write,
};
use fido_relay_proto::UnixMillis;

use super::callers::{Attempt, COUNTS, History, count_key, counted};

/// All records by name.
pub(super) type Records = BTreeMap<RecordName, Stored>;

/// Makes a batch's changes, if every record is at its expected revision.
fn apply(records: &mut Records, batch: &Batch, revision: Revision) -> Result<(), String> {
    for change in batch.changes() {
        let found = records.get(&change.name()).map_or(Revision::ABSENT, |found| found.revision);
        if found != change.expected {
            let expected = change.expected;
            return Err(format!("{} was at {found:?}, not at {expected:?}", change.name()));
        }
    }
    for change in batch.changes() {
        match &change.write {
            Write::Check => {}
            Write::Put { value, due } => {
                let stored = Stored { revision, value: value.clone(), due: *due };
                records.insert(change.name(), stored);
            }
            Write::Remove => drop(records.remove(&change.name())),
        }
    }
    Ok(())
}

/// Everything that a store holds.
pub(super) async fn contents(store: &dyn Store) -> Result<Records, StoreError> {
    let mut records = Records::new();
    for bucket in Bucket::ALL {
        for (key, stored) in store.list(bucket, "").await? {
            records.insert(RecordName { bucket, key: key.into() }, stored);
        }
    }
    Ok(records)
}

/// Holds what a store has against the batches that were answered when the clock said `moment`, and
/// those that had no answer then: each of these may stand, whole and in order.
pub(super) fn check(history: &History, moment: usize, found: &Records) -> Result<(), String> {
    let mut stand: Vec<(Revision, &Attempt)> = Vec::new();
    let mut missing: Vec<Revision> = Vec::new();
    for (caller, attempts) in history.iter().enumerate() {
        let name = RecordName { bucket: COUNTS, key: count_key(caller).into() };
        let count = found.get(&name);
        let mut shown = count.map(|stored| (counted(&stored.value), stored.revision));
        for (nth, attempt) in attempts.iter().enumerate() {
            if attempt.submitted > moment {
                break;
            }
            let shown_here =
                shown.take_if(|(shown, _)| *shown == nth).map(|(_, revision)| revision);
            match (&attempt.answered, shown_here) {
                (Some((at, Ok(revision))), shown) if *at <= moment => {
                    if shown.is_some_and(|shown| shown != *revision) {
                        return Err(format!("{name} is at {shown:?}, acknowledged: {revision:?}"));
                    }
                    stand.push((*revision, attempt));
                }
                (Some((at, Err(error))), Some(_)) if *at <= moment => {
                    return Err(format!("number {nth} of {name} stands, its answer was: {error}"));
                }
                (Some((_, Err(StoreError::Conflict(other)))), Some(_)) => {
                    return Err(format!(
                        "number {nth} of {name} stands, it conflicts over {other}"
                    ));
                }
                (Some((_, Ok(revision))), Some(shown)) if *revision != shown => {
                    return Err(format!(
                        "{name} is at {shown:?}, acknowledged later: {revision:?}"
                    ));
                }
                (_, Some(shown)) => stand.push((shown, attempt)),
                (Some((at, Ok(revision))), None) if *at > moment => missing.push(*revision),
                (_, None) => {}
            }
        }
        if let Some((shown, _)) = shown {
            return Err(format!("{name} shows number {shown}, which was not submitted"));
        }
    }
    stand.sort_by_key(|(revision, _)| *revision);
    let last = stand.last().map_or(Revision::ABSENT, |(revision, _)| *revision);
    if let Some(hole) = missing.iter().find(|revision| **revision < last) {
        return Err(format!("{hole:?} is missing before {last:?}"));
    }
    let mut records = Records::new();
    for (revision, attempt) in &stand {
        apply(&mut records, &attempt.batch, *revision).map_err(|why| {
            format!("the batch of {revision:?} cannot have been committed: {why}")
        })?;
    }
    equal(&records, found)
}

/// Says where two states differ.
pub(super) fn equal(expected: &Records, found: &Records) -> Result<(), String> {
    let names = expected.keys().chain(found.keys());
    match names.into_iter().find(|name| expected.get(name) != found.get(name)) {
        Some(name) => {
            let (expected, found) = (expected.get(name), found.get(name));
            Err(format!("{name} is {found:?} and should be {expected:?}"))
        }
        None => Ok(()),
    }
}

/// The store's index names exactly what its records say, in pages of `limit`.
pub(super) async fn check_due(
    store: &dyn Store,
    records: &Records,
    limit: usize,
) -> Result<(), String> {
    for duty in Duty::ALL {
        for until in [UnixMillis(4), UnixMillis(u64::MAX)] {
            let due = records.iter().filter_map(|(name, stored)| {
                let due = stored.due.filter(|due| due.duty == duty && due.at <= until)?;
                let (bucket, key, revision) = (name.bucket, name.key.to_string(), stored.revision);
                Some(DueRecord { at: due.at, bucket, key, revision })
            });
            let mut expected: Vec<_> = due.collect();
            expected.sort_unstable();
            let mut found: Vec<DueRecord> = Vec::new();
            loop {
                let page = store.due(duty, until, found.last(), limit).await;
                let page = page.map_err(|error| error.to_string())?;
                if page.is_empty() {
                    break;
                }
                found.extend(page);
                if found.len() > expected.len() {
                    break;
                }
            }
            if found != expected {
                return Err(format!("{duty:?} until {until:?}: {found:?}, records: {expected:?}"));
            }
        }
    }
    Ok(())
}
