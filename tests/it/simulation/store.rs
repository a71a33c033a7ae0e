//! A store that keeps the port's contract and nothing beyond it: slow, sometimes down, with
//! conflicts that nobody caused, and with writes that are refused and stand all the same. What a
//! crash leaves behind is exactly what was applied.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fido_relay::ports::{BoxFuture, Bucket, Clock as _, Revision, Store, StoreError, Stored};
use tokio::time::Instant;

use super::history::Event;
use super::weather::{World, pause};

/// A record now and, for a reader that lags, before.
#[derive(Debug, Default)]
struct Versions {
    now: Option<Stored>,
    before: Option<Stored>,
}

/// A write on its way.
#[derive(Clone, Debug)]
struct Write {
    bucket: Bucket,
    key: String,
    expected: Revision,
    value: Option<Vec<u8>>,
}

/// What survives a crash.
#[derive(Debug, Default)]
struct Disk {
    revision: u64,
    records: [BTreeMap<String, Versions>; Bucket::ALL.len()],
    /// Refused, and still to be applied.
    late: Vec<Write>,
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

    /// What was refused and lands late lands now.
    pub(super) fn land(&self) {
        let late = std::mem::take(&mut self.disk.lock().unwrap().late);
        for write in late {
            drop(self.apply(&write));
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

    async fn write(&self, write: Write) -> Result<Revision, StoreError> {
        let store_ms = self.world.faults().store_ms;
        self.world.take(store_ms).await;
        let fate = self.fate();
        let result = match fate {
            Fate::Good => self.apply(&write),
            Fate::Refused => Err(down()),
            Fate::RefusedButStands => self.apply(&write).and(Err(down())),
            Fate::RefusedButLandsLate => {
                self.disk.lock().unwrap().late.push(write);
                Err(down())
            }
            Fate::ConflictButStands => self.apply(&write).and(Err(StoreError::Conflict)),
            Fate::ConflictOfNobody => Err(StoreError::Conflict),
        };
        // A crash here leaves a write that nobody was told of.
        self.world.take(store_ms).await;
        result
    }

    fn apply(&self, write: &Write) -> Result<Revision, StoreError> {
        let mut disk = self.disk.lock().unwrap();
        let next = disk.revision + 1;
        let versions = disk.records[write.bucket as usize].entry(write.key.clone()).or_default();
        let found = versions.now.as_ref().map_or(Revision::ABSENT, |stored| stored.revision);
        if found != write.expected {
            return Err(StoreError::Conflict);
        }
        let revision = Revision(next);
        let written = write.value.clone().map(|value| Stored { revision, value });
        versions.before = std::mem::replace(&mut versions.now, written);
        disk.revision = next;
        drop(disk);
        if write.bucket == Bucket::Ceremonies {
            self.world.tell(Event::Wrote {
                life: self.world.life(),
                at: self.world.now(),
                key: write.key.clone(),
                record: write.value.clone(),
            });
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

    fn save<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
        expected: Revision,
        value: Vec<u8>,
    ) -> BoxFuture<'a, Result<Revision, StoreError>> {
        let write = Write { bucket, key: key.to_owned(), expected, value: Some(value) };
        Box::pin(self.write(write))
    }

    fn remove<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
        expected: Revision,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let write = Write { bucket, key: key.to_owned(), expected, value: None };
        Box::pin(async move { self.write(write).await.map(|_| ()) })
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
