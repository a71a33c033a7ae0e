//! A store that keeps the port's contract and nothing beyond it: slow, sometimes down, with
//! conflicts that nobody caused, and with writes that are refused and stand all the same. What a
//! crash leaves behind is exactly what was applied.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fido_relay::ceremony::Ceremony;
use fido_relay::ports::{
    Batch, BoxFuture, Bucket, Change, Clock as _, Revision, Store, StoreError, Stored, Write,
};
use fido_relay_proto::{CeremonyId, Outcome};
use serde_json::Value;
use tokio::time::Instant;

use super::history::Event;
use super::weather::{World, pause};

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
    /// Refused, and still to be applied.
    late: Vec<Batch>,
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Good,
    Refused,
    RefusedButStands,
    RefusedButLandsLate,
    ConflictButStands,
    ConflictOfNobody,
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
        let records = disk.records[bucket as usize].iter();
        let present = records.filter_map(|(key, versions)| Some((key, versions.now.as_ref()?)));
        present.map(|(key, stored)| (key.clone(), stored.value.clone())).collect()
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

    /// What was refused and lands late lands now.
    pub(super) fn land(&self) {
        let late = std::mem::take(&mut self.disk.lock().unwrap().late);
        for batch in late {
            drop(self.apply(&batch));
        }
    }

    fn fate(&self) -> Fate {
        let faults = self.world.faults();
        let out = self.world.is_out();
        let mut chance = self.world.chance();
        let drawn = chance.below(1000);
        if out {
            return match chance.below(8) {
                0 => Fate::RefusedButStands,
                1 => Fate::RefusedButLandsLate,
                _ => Fate::Refused,
            };
        }
        let mut bound = 0;
        for (per_mille, fate) in [
            (faults.refused, Fate::Refused),
            (faults.refused_but_stands / 2, Fate::RefusedButStands),
            (faults.refused_but_stands / 2, Fate::RefusedButLandsLate),
            (faults.spurious_conflict / 2, Fate::ConflictButStands),
            (faults.spurious_conflict / 2, Fate::ConflictOfNobody),
        ] {
            bound += per_mille;
            if drawn < bound {
                return fate;
            }
        }
        Fate::Good
    }

    async fn write(&self, batch: Batch) -> Result<Revision, StoreError> {
        let store_ms = self.world.faults().store_ms;
        self.world.take(store_ms).await;
        let fate = self.fate();
        let result = match fate {
            Fate::Good => self.apply(&batch),
            Fate::Refused => Err(down()),
            Fate::RefusedButStands => self.apply(&batch).and(Err(down())),
            Fate::RefusedButLandsLate => {
                self.disk.lock().unwrap().late.push(batch);
                Err(down())
            }
            Fate::ConflictButStands => self.apply(&batch).and(Err(StoreError::Conflict)),
            Fate::ConflictOfNobody => Err(StoreError::Conflict),
        };
        // A crash here leaves a write that nobody was told of.
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
        if batch.changes().iter().any(|change| found(change) != change.expected) {
            return Err(StoreError::Conflict);
        }
        disk.revision += 1;
        let revision = Revision(disk.revision);
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

    fn read(&self, bucket: Bucket, key: &str) -> Result<Option<Stored>, StoreError> {
        let faults = self.world.faults();
        if self.world.is_out() || self.world.happens(faults.unreadable) {
            return Err(down());
        }
        let stale = bucket == Bucket::Ceremonies && self.world.happens(faults.stale);
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
        Box::pin(async move {
            let faults = self.world.faults();
            self.world.take(faults.store_ms).await;
            if self.world.is_out() || self.world.happens(faults.unreadable) {
                return Err(down());
            }
            let listed = {
                let disk = self.disk.lock().unwrap();
                let records = disk.records[bucket as usize].iter();
                let records = records.filter(|(key, _)| key.starts_with(prefix));
                records
                    .filter_map(|(key, versions)| Some((key.clone(), versions.now.clone()?)))
                    .collect()
            };
            // What was read is acted on later: much may have been written meanwhile.
            let delay = self.world.chance().delay_ms(faults.store_ms * 4);
            pause(delay).await;
            Ok(listed)
        })
    }
}

/// An outage of so many milliseconds from now.
pub(super) fn outage(ms: u64) -> Instant {
    Instant::now() + std::time::Duration::from_millis(ms)
}
