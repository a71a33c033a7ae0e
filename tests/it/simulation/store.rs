//! A store that keeps the port's contract and nothing beyond it: slow, sometimes down, in every
//! second world with reads of ceremonies that lag, and with crashes of the process between a write and its answer. What a crash
//! leaves behind is exactly what was applied.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fido_relay::core::ceremony::Ceremony;
use fido_relay::ports::{
    Batch, BoxFuture, Bucket, Change, Clock as _, DueRecord, Duty, Position, Revision, Row, Store,
    StoreError, Stored, Write,
};
use fido_relay_proto::{CeremonyId, Outcome, UnixMillis};
use serde_json::Value;
use tokio::time::Instant;

use super::history::Event;
use super::world::World;

/// A record now and, for a reader that lags, before.
#[derive(Debug, Default)]
struct Versions {
    now: Option<Stored>,
    before: Option<Stored>,
}

/// What survives a crash.
#[derive(Debug, Default)]
struct Disk {
    revision: u64,
    records: [BTreeMap<String, Versions>; Bucket::ALL.len()],
}

impl Disk {
    fn present(&self, bucket: Bucket) -> impl Iterator<Item = (String, Stored)> {
        let records = self.records[bucket as usize].iter();
        records.filter_map(|(key, versions)| Some((key.clone(), versions.now.clone()?)))
    }
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Good,
    Refused,
    StandsAndCrashes,
}

#[derive(Debug)]
pub(super) struct SimStore {
    world: Arc<World>,
    disk: Mutex<Disk>,
}

impl SimStore {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world, disk: Mutex::default() }
    }

    /// What is stored, past every fault.
    pub(super) fn contents(&self, bucket: Bucket) -> BTreeMap<String, Vec<u8>> {
        let disk = self.disk.lock().unwrap();
        disk.present(bucket).map(|(key, stored)| (key, stored.value)).collect()
    }

    /// Ceremonies that ended otherwise than by their deadline and count as open for their user.
    pub(super) fn ended_and_counted(&self) -> Vec<CeremonyId> {
        let standings = self.contents(Bucket::Standings);
        let counts = |id: CeremonyId| {
            standings.values().any(|record| {
                let standing: Value = serde_json::from_slice(record).unwrap();
                let mut live = standing["live"].as_array().unwrap().iter();
                live.any(|live| live["ceremony"] == serde_json::json!(id))
            })
        };
        let ceremonies = self.contents(Bucket::Ceremonies);
        let ceremonies = ceremonies.values().map(|record| serde_json::from_slice(record).unwrap());
        let counted_end = |ceremony: &Ceremony| {
            ceremony.closed().is_some_and(|closed| closed.outcome != Outcome::Expired)
        };
        let ended = ceremonies.filter(counted_end).map(|ceremony| ceremony.request.id);
        ended.filter(|id| counts(*id)).collect()
    }

    fn fate(&self) -> Fate {
        if self.world.is_out() {
            return Fate::Refused;
        }
        let faults = self.world.faults();
        let drawn = self.world.rng().below(1000);
        if drawn < faults.refused {
            Fate::Refused
        } else if drawn < faults.refused + faults.crash_after_write {
            Fate::StandsAndCrashes
        } else {
            Fate::Good
        }
    }

    async fn write(&self, batch: Batch) -> Result<Revision, StoreError> {
        let store_ms = self.world.faults().store_ms;
        self.world.take(store_ms).await;
        let fate = self.fate();
        let result = match fate {
            Fate::Refused => Err(down()),
            Fate::Good | Fate::StandsAndCrashes => self.apply(&batch),
        };
        if fate == Fate::StandsAndCrashes && result.is_ok() {
            self.world.crash();
            return std::future::pending().await;
        }
        // A crash here, too, leaves a write without an answer.
        self.world.take(store_ms).await;
        result
    }

    fn apply(&self, batch: &Batch) -> Result<Revision, StoreError> {
        batch.validate()?;
        let mut disk = self.disk.lock().unwrap();
        let found = |change: &Change| {
            let versions = disk.records[change.bucket as usize].get(&*change.key);
            let stored = versions.and_then(|versions| versions.now.as_ref());
            stored.map_or(Revision::ABSENT, |stored| stored.revision)
        };
        if let Some(stale) = batch.changes().iter().find(|change| found(change) != change.expected)
        {
            return Err(StoreError::Conflict(stale.name()));
        }
        disk.revision += 1;
        let revision = Revision(disk.revision);
        if !batch.entries().is_empty() {
            let position = Position(revision.0);
            let now = Some(Row::stored(position, batch.entries()));
            let row = Versions { now, before: None };
            disk.records[Bucket::Journal as usize].insert(position.key(), row);
        }
        for Change { bucket, key, write, .. } in batch.changes() {
            let written = match write {
                Write::Check => continue,
                Write::Put { value, due } => {
                    Some(Stored { revision, value: value.clone(), due: *due })
                }
                Write::Remove => None,
            };
            let versions = disk.records[*bucket as usize].entry(key.to_string()).or_default();
            versions.before = std::mem::replace(&mut versions.now, written);
        }
        drop(disk);
        for Change { bucket, key, write, .. } in batch.changes() {
            let record = match write {
                Write::Put { value, .. } => Some(value.clone()),
                Write::Remove => None,
                Write::Check => continue,
            };
            if *bucket == Bucket::Ceremonies {
                let (life, at, key) = (self.world.life(), self.world.now(), key.to_string());
                self.world.tell(Event::Wrote { life, at, key, record });
            }
        }
        Ok(revision)
    }

    /// Reads many records at one moment. They are acted on later: much may have been written
    /// meanwhile.
    async fn look<T>(&self, read: impl FnOnce(&Disk) -> T) -> Result<T, StoreError> {
        let faults = self.world.faults();
        self.world.take(faults.store_ms).await;
        if self.world.is_out() || self.world.happens(faults.unreadable) {
            return Err(down());
        }
        let read = read(&self.disk.lock().unwrap());
        self.world.take(faults.store_ms * 4).await;
        Ok(read)
    }

    fn read(&self, bucket: Bucket, key: &str) -> Result<Option<Stored>, StoreError> {
        let faults = self.world.faults();
        if self.world.is_out() || self.world.happens(faults.unreadable) {
            return Err(down());
        }
        let stale = bucket == Bucket::Ceremonies
            && !self.world.is_exclusive
            && self.world.happens(faults.stale);
        let disk = self.disk.lock().unwrap();
        let Some(versions) = disk.records[bucket as usize].get(key) else { return Ok(None) };
        match &versions.before {
            Some(before) if stale && versions.now.is_some() => Ok(Some(before.clone())),
            Some(_) | None => Ok(versions.now.clone()),
        }
    }
}

fn down() -> StoreError {
    StoreError::Unavailable("simulated".to_owned())
}

impl Store for SimStore {
    fn is_exclusive(&self) -> bool {
        self.world.is_exclusive
    }

    fn load<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Stored>, StoreError>> {
        Box::pin(async move {
            let store_ms = self.world.faults().store_ms;
            self.world.take(store_ms).await;
            let read = self.read(bucket, key);
            self.world.take(store_ms / 2).await;
            read
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(self.write(batch))
    }

    fn list<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, Stored)>, StoreError>> {
        Box::pin(self.look(move |disk| {
            let of_prefix = |(key, _): &(String, Stored)| key.starts_with(prefix);
            disk.present(bucket).filter(of_prefix).collect()
        }))
    }

    fn due<'a>(
        &'a self,
        duty: Duty,
        until: UnixMillis,
        after: Option<&'a DueRecord>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<DueRecord>, StoreError>> {
        Box::pin(self.look(move |disk| {
            let mut found = Vec::new();
            for bucket in Bucket::ALL {
                for (key, Stored { revision, due, .. }) in disk.present(bucket) {
                    if let Some(due) = due.filter(|due| due.duty == duty && due.at <= until) {
                        found.push(DueRecord { at: due.at, bucket, key, revision });
                    }
                }
            }
            found.retain(|record| after.is_none_or(|after| record > after));
            found.sort_unstable();
            found.truncate(limit);
            found
        }))
    }
}

/// An outage of so many milliseconds from now.
pub(super) fn outage(ms: u64) -> Instant {
    Instant::now() + std::time::Duration::from_millis(ms)
}
