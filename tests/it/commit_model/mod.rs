//! Random batches of several callers over every store, held against a model; and over the store on
//! disk with power cuts: from each recorded run come hundreds of images of what the disk may hold
//! after a cut, and each must open with every acknowledged batch, of the others each wholly or not
//! at all, an index that is equal to the records, and revisions that were never given before.
//!
//! `CRASH_IMAGES` sets how many images are looked at. Threads of the store decide which batches
//! share a flush, so that the same seed does not always record the same run: what failed is in the
//! message.

mod callers;
mod model;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fido_relay::backends::embedded::{FileStore, MemoryStore, StoreFile, StoreOptions};
use fido_relay::ports::{Bucket, Revision, Store};
use redb::StorageBackend;

use self::callers::History;
use self::model::Records;
use crate::simulation::number;
use crate::simulation::rng::Rng;
use crate::support::faulty_disk::{Content, DiskFaults, FaultyDisk, Log};

/// Images in an ordinary run of the tests, and of one recorded run.
const IMAGES: u64 = 10_000;
const IMAGES_OF_A_RUN: u64 = 250;
/// Callers of a recorded run, and batches of each.
const CALLERS: usize = 5;
const EACH: usize = 40;
/// What half of the runs meet.
const BAD: DiskFaults =
    DiskFaults { failed_writes: 10, failed_syncs: 30, ignored_syncs: 0, fills_up: 2 };
/// One image in so many meets another power cut while it is opened and written.
const TWICE: u64 = 4;

async fn holds_what_the_model_has(store: &dyn Store, history: &History) -> Records {
    let found = model::contents(store).await.unwrap();
    model::check(history, 0, &found).unwrap();
    model::check_due(store, &found, 3).await.unwrap();
    found
}

#[tokio::test]
async fn the_store_in_memory_holds_what_a_model_has() {
    for seed in 0..20 {
        let store = MemoryStore::new();
        let history = callers::run(&store, &|| 0, seed, (CALLERS, EACH)).await;
        holds_what_the_model_has(&store, &history).await;
    }
}

#[tokio::test]
async fn the_store_on_disk_holds_what_a_model_has_also_when_it_is_opened_again() {
    for seed in 0..3 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relay.redb");
        let store = FileStore::open(&path, &[]).unwrap();
        let history = callers::run(&store, &|| 0, seed, (CALLERS, EACH)).await;
        let held = holds_what_the_model_has(&store, &history).await;
        drop(store);
        let again = FileStore::open(&path, &[]).unwrap();
        assert_eq!(holds_what_the_model_has(&again, &history).await, held);
    }
}

fn open(disk: &FaultyDisk) -> Result<FileStore, String> {
    let files = disk.clone();
    let open = move |part: StoreFile| {
        let number = StoreFile::ALL.iter().position(|of| *of == part).unwrap();
        Ok(Box::new(files.file(number)) as Box<dyn StorageBackend>)
    };
    // So small that files of the log are brought into the tables again and again.
    let options = StoreOptions { log_bytes: 24 * 1024, ..StoreOptions::default() };
    FileStore::open_by(Path::new("torn.redb"), options, open).map_err(|error| error.to_string())
}

/// A run of a store on a disk: who was answered what when, and the disk's log.
struct Run {
    seed: u64,
    /// When the store had been made.
    made: usize,
    history: History,
    log: Log,
}

impl Run {
    async fn record(seed: u64, faults: DiskFaults) -> Self {
        let disk = FaultyDisk::new(vec![Content::default(); 3]);
        let store = open(&disk).unwrap();
        let made = disk.ops();
        disk.set_weather(faults, seed);
        let history = callers::run(&store, &|| disk.ops(), seed, (CALLERS, EACH)).await;
        disk.set_weather(DiskFaults::default(), seed);
        drop(store);
        Self { seed, made, history, log: disk.take_log() }
    }

    /// Batches that were acknowledged when the disk had done so much.
    fn acknowledged(&self, moment: usize) -> impl Iterator<Item = Revision> {
        let answers = self.history.iter().flatten().filter_map(|attempt| attempt.answered.as_ref());
        answers.filter(move |(at, _)| *at <= moment).filter_map(|(_, answer)| answer.clone().ok())
    }

    async fn check(&self, point: usize, seed: u64, files: Vec<Content>) -> Result<(), String> {
        let disk = FaultyDisk::new(files);
        let store = open(&disk)?;
        let found = model::contents(&store).await.map_err(|error| error.to_string())?;
        model::check(&self.history, point, &found)?;
        model::check_due(&store, &found, 1 + (seed % 7) as usize).await?;
        let held = found.values().map(|stored| stored.revision);
        let highest = self.acknowledged(point).chain(held).max();
        let next = store.save(Bucket::Devices, "next", Revision::ABSENT, Vec::new()).await;
        let next = next.map_err(|error| error.to_string())?;
        if highest >= Some(next) {
            return Err(format!("{next:?} was given again, {highest:?} was given before"));
        }
        let answered = disk.ops();
        drop(store);
        if seed.is_multiple_of(TWICE) {
            return cut_again(&disk.take_log(), answered, seed, found).await;
        }
        Ok(())
    }
}

/// What an image was seen to hold stays, whatever befalls it while it is opened.
async fn cut_again(log: &Log, answered: usize, seed: u64, mut held: Records) -> Result<(), String> {
    let point = Rng::new(seed).below(log.len() as u64 + 1) as usize;
    let (_, _, files) = log.images([(point, seed)]).next().unwrap();
    let store = open(&FaultyDisk::new(files)).map_err(|error| format!("cut again: {error}"))?;
    let mut found = model::contents(&store).await.map_err(|error| error.to_string())?;
    let is_next = |records: &mut Records| {
        let name = records.keys().find(|name| name.bucket == Bucket::Devices).cloned();
        name.is_some_and(|name| records.remove(&name).is_some())
    };
    is_next(&mut held);
    if !is_next(&mut found) && point >= answered {
        return Err("cut again: an acknowledged record is missing".to_owned());
    }
    model::equal(&held, &found).map_err(|why| format!("cut again: {why}"))
}

/// Looks at images of one recorded run, and tells what is wrong with the first bad one.
fn look_at_run(seed: u64, faults: DiskFaults) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let run = runtime.block_on(Run::record(seed, faults));
    let mut rng = Rng::new(seed);
    let after_made = (run.log.len() - run.made) as u64 + 1;
    let mut points: Vec<(usize, u64)> = (0..IMAGES_OF_A_RUN)
        .map(|_| (run.made + rng.below(after_made) as usize, rng.next()))
        .collect();
    points.sort_unstable();
    for (point, image, files) in run.log.images(points) {
        runtime.block_on(run.check(point, image, files)).map_err(|why| {
            let (seed, of) = (run.seed, run.log.len());
            format!("run {seed}, cut after operation {point} of {of}, image {image}: {why}")
        })?;
    }
    Ok(())
}

#[test]
fn after_a_power_cut_the_store_holds_what_it_acknowledged_and_nothing_by_halves() {
    let runs = number("CRASH_IMAGES", IMAGES).div_ceil(IMAGES_OF_A_RUN);
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= runs || failed.lock().unwrap().len() >= 5 {
                        return;
                    }
                    let faults = if seed.is_multiple_of(2) { DiskFaults::default() } else { BAD };
                    let looked = std::panic::catch_unwind(|| look_at_run(seed, faults));
                    let looked = looked.unwrap_or_else(|_| Err(format!("run {seed} panicked")));
                    failed.lock().unwrap().extend(looked.err());
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The suite would see a store that acknowledges before its flush: here, since no flush is one.
#[test]
fn a_disk_that_syncs_nothing_loses_what_was_acknowledged() {
    let lying = DiskFaults { ignored_syncs: 1000, ..DiskFaults::default() };
    look_at_run(0, lying).unwrap_err();
}
