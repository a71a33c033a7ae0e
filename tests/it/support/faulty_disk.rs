//! Files in memory on a disk that loses power. Every operation goes into one log over all files,
//! and [`Log::images`] makes of it what a power cut may leave of each file:
//!
//! ```text
//!  written before the file's last sync   ▶ there
//!  written since                         ▶ each write there, missing, or torn between sectors
//!  written before a sync that failed     ▶ the same, for good: a later sync says nothing of it
//!  a write that failed                   ▶ the same, for good
//! ```
//! A length that was set counts as a write, there or missing; with it is missing what was written
//! behind it. Files know nothing of one another's
//! syncs. Chance decides, from the image's seed.

use std::io;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{BackendError, StorageBackend};

use crate::simulation::rng::Rng;

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Files share their content with their images in pieces of this size.
const PIECE: usize = 16 * 1024;

/// A disk with some files. Clones are the same disk.
#[derive(Clone, Debug)]
pub(crate) struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    files: Vec<Content>,
    log: Log,
    faults: DiskFaults,
    rng: Rng,
    /// How many more are refused because the disk is full.
    refusals: u64,
}

/// How often something goes wrong, in cases of a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DiskFaults {
    pub(crate) failed_writes: u64,
    pub(crate) failed_syncs: u64,
    /// The disk says that it synced and did not.
    pub(crate) ignored_syncs: u64,
    /// The disk is full for a while: it refuses some writes and lengths, one after the other.
    pub(crate) fills_up: u64,
}

/// Most writes that a disk refuses because it is full, until there is room again.
const REFUSALS: u64 = 40;

/// A file's bytes. A clone is cheap: what neither has changed since is shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    len: usize,
    pieces: Vec<Option<Arc<[u8; PIECE]>>>,
}

#[derive(Clone, Debug)]
enum What {
    Write { at: usize, data: Arc<[u8]> },
    SetLen(usize),
}

#[derive(Debug)]
enum Op {
    Done(What),
    /// It may have happened, wholly or in part.
    Failed(What),
    Sync,
    FailedSync,
}

/// Every operation since the disk was made or given its content.
#[derive(Debug, Default)]
pub(crate) struct Log {
    first: Vec<Content>,
    ops: Vec<(usize, Op)>,
}

impl Content {
    fn set_len(&mut self, len: usize) {
        if len < self.len && !len.is_multiple_of(PIECE) {
            // What is cut off is zero if the file grows again.
            if let Some(Some(piece)) = self.pieces.get_mut(len / PIECE) {
                Arc::make_mut(piece)[len % PIECE..].fill(0);
            }
        }
        self.pieces.resize(len.div_ceil(PIECE), None);
        self.len = len;
    }

    fn write(&mut self, at: usize, data: &[u8]) {
        if at + data.len() > self.len {
            self.set_len(at + data.len());
        }
        for (piece, within, from) in pieces(at..at + data.len()) {
            let piece = self.pieces[piece].get_or_insert_with(|| Arc::new([0; PIECE]));
            let data = &data[from..from + within.len()];
            Arc::make_mut(piece)[within].copy_from_slice(data);
        }
    }

    fn read(&self, at: usize, out: &mut [u8]) -> io::Result<()> {
        if at + out.len() > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (piece, within, from) in pieces(at..at + out.len()) {
            let out = &mut out[from..from + within.len()];
            match &self.pieces[piece] {
                Some(piece) => out.copy_from_slice(&piece[within]),
                None => out.fill(0),
            }
        }
        Ok(())
    }

    fn apply(&mut self, what: &What) {
        match what {
            What::Write { at, data } => self.write(*at, data),
            What::SetLen(len) => self.set_len(*len),
        }
    }

    /// Applies what was not synced, or a part of it, or nothing. Where a length is missing, so is
    /// what was written behind it.
    fn apply_perhaps(&mut self, what: &What, rng: &mut Rng) {
        let within = match what {
            What::Write { at, data } => {
                let room = self.len.saturating_sub(*at).min(data.len());
                What::Write { at: *at, data: data[..room].into() }
            }
            What::SetLen(len) => What::SetLen(*len),
        };
        match (rng.below(3), &within) {
            (0, _) => {}
            (1, What::Write { at, data }) => {
                let mut from = 0;
                while from < data.len() {
                    let to = ((at + from) / SECTOR * SECTOR + SECTOR - at).min(data.len());
                    if rng.happens(500) {
                        self.write(at + from, &data[from..to]);
                    }
                    from = to;
                }
            }
            (_, what) => self.apply(what),
        }
    }
}

/// The pieces of a range: which, the range within it, and how far into the whole range that is.
fn pieces(range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>, usize)> {
    let first = range.start / PIECE;
    (first..range.end.div_ceil(PIECE)).map(move |piece| {
        let start = range.start.max(piece * PIECE);
        let end = range.end.min((piece + 1) * PIECE);
        (piece, start - piece * PIECE..end - piece * PIECE, start - range.start)
    })
}

impl FaultyDisk {
    /// A disk that begins with these files.
    pub(crate) fn new(files: Vec<Content>) -> Self {
        let log = Log { first: files.clone(), ops: Vec::new() };
        let (faults, rng) = (DiskFaults::default(), Rng::new(0));
        Self(Arc::new(Mutex::new(State { files, log, faults, rng, refusals: 0 })))
    }

    pub(crate) fn set_weather(&self, faults: DiskFaults, seed: u64) {
        let state = &mut *self.lock();
        (state.faults, state.rng, state.refusals) = (faults, Rng::new(seed), 0);
    }

    /// How many operations the disk has logged.
    pub(crate) fn ops(&self) -> usize {
        self.lock().log.ops.len()
    }

    /// The log until now; a new one begins.
    pub(crate) fn take_log(&self) -> Log {
        let mut state = self.lock();
        let first = state.files.clone();
        std::mem::replace(&mut state.log, Log { first, ops: Vec::new() })
    }

    pub(crate) fn file(&self, number: usize) -> TornFile {
        TornFile { disk: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn change(&self, number: usize, what: What) -> io::Result<()> {
        let state = &mut *self.lock();
        if state.rng.happens(state.faults.fills_up) {
            state.refusals = 1 + state.rng.below(REFUSALS);
        }
        if state.refusals > 0 {
            state.refusals -= 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.rng.happens(state.faults.failed_writes) {
            state.files[number].apply_perhaps(&what, &mut state.rng);
            state.log.ops.push((number, Op::Failed(what)));
            return Err(io::Error::other("the disk failed to write"));
        }
        state.files[number].apply(&what);
        state.log.ops.push((number, Op::Done(what)));
        Ok(())
    }
}

/// A file of a [`FaultyDisk`].
#[derive(Debug)]
pub(crate) struct TornFile {
    disk: FaultyDisk,
    number: usize,
}

impl StorageBackend for TornFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.number].len as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.lock().files[self.number].read(index(offset), out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.change(self.number, What::SetLen(index(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        let state = &mut *self.disk.lock();
        if state.rng.happens(state.faults.ignored_syncs) {
            return Ok(());
        }
        let fails = state.rng.happens(state.faults.failed_syncs);
        state.log.ops.push((self.number, if fails { Op::FailedSync } else { Op::Sync }));
        if fails { Err(io::Error::other("the disk failed to sync")) } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.change(self.number, What::Write { at: index(offset), data: data.into() })
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

/// What is on the disk of one file: what surely is, and in order what came after the first
/// operation of which that is not known.
#[derive(Debug)]
struct Platter {
    settled: Content,
    open: Vec<(What, Fate)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Unsynced,
    Durable,
    Doubtful,
}

impl Platter {
    fn take(&mut self, op: &Op) {
        let sync = |open: &mut Vec<(What, Fate)>, fate| {
            for (_, of) in open.iter_mut().filter(|(_, of)| *of == Fate::Unsynced) {
                *of = fate;
            }
        };
        match op {
            Op::Done(what) => self.open.push((what.clone(), Fate::Unsynced)),
            Op::Failed(what) => self.open.push((what.clone(), Fate::Doubtful)),
            Op::FailedSync => sync(&mut self.open, Fate::Doubtful),
            Op::Sync => {
                sync(&mut self.open, Fate::Durable);
                let durable = self.open.iter().take_while(|(_, fate)| *fate == Fate::Durable);
                for (what, _) in self.open.drain(..durable.count()) {
                    self.settled.apply(&what);
                }
            }
        }
    }

    fn image(&self, rng: &mut Rng) -> Content {
        let mut content = self.settled.clone();
        for (what, fate) in &self.open {
            match fate {
                Fate::Durable => content.apply(what),
                Fate::Unsynced | Fate::Doubtful => content.apply_perhaps(what, rng),
            }
        }
        content
    }
}

impl Log {
    pub(crate) fn len(&self) -> usize {
        self.ops.len()
    }

    /// What the files may hold after a power cut that follows so many operations, for each of
    /// these points (in rising order) and seeds.
    pub(crate) fn images<'a>(
        &'a self,
        points: impl IntoIterator<Item = (usize, u64)> + 'a,
    ) -> impl Iterator<Item = (usize, u64, Vec<Content>)> + 'a {
        let of = |first: &Content| Platter { settled: first.clone(), open: Vec::new() };
        let mut platters: Vec<Platter> = self.first.iter().map(of).collect();
        let mut done = 0;
        points.into_iter().map(move |(point, seed)| {
            for (file, op) in &self.ops[done..point] {
                platters[*file].take(op);
            }
            done = point;
            let mut rng = Rng::new(seed);
            (point, seed, platters.iter().map(|platter| platter.image(&mut rng)).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(content: &Content, at: usize) -> u8 {
        let mut out = [0];
        content.read(at, &mut out).unwrap();
        out[0]
    }

    /// The values that a byte has in many images after the last operation.
    fn seen(disk: &FaultyDisk, at: usize) -> std::collections::BTreeSet<u8> {
        let log = disk.take_log();
        let points: Vec<_> = (0..200).map(|seed| (log.len(), seed)).collect();
        log.images(points).map(|(_, _, files)| byte(&files[0], at)).collect()
    }

    fn disk() -> (FaultyDisk, TornFile) {
        let mut content = Content::default();
        content.set_len(3 * PIECE);
        let disk = FaultyDisk::new(vec![content]);
        (disk.clone(), disk.file(0))
    }

    #[test]
    fn what_was_synced_is_there_and_what_was_not_may_be() {
        let (disk, file) = disk();
        file.write(5, &[1]).unwrap();
        file.sync_data().unwrap();
        file.write(5, &[2]).unwrap();
        file.write(5, &[3]).unwrap();
        assert_eq!(seen(&disk, 5), [1, 2, 3].into());
    }

    #[test]
    fn a_failed_sync_leaves_doubt_that_a_later_one_does_not_take_away() {
        let (disk, file) = disk();
        file.write(5, &[1]).unwrap();
        disk.set_weather(DiskFaults { failed_syncs: 1000, ..DiskFaults::default() }, 0);
        file.sync_data().unwrap_err();
        disk.set_weather(DiskFaults::default(), 0);
        file.write(6, &[1]).unwrap();
        file.sync_data().unwrap();
        let log = disk.take_log();
        let points: Vec<_> = (0..200).map(|seed| (log.len(), seed)).collect();
        let images =
            log.images(points).map(|(_, _, files)| (byte(&files[0], 5), byte(&files[0], 6)));
        let images: std::collections::BTreeSet<_> = images.collect();
        assert_eq!(images, [(0, 1), (1, 1)].into());
    }

    #[test]
    fn a_write_is_torn_between_sectors_and_nowhere_else() {
        let (disk, file) = disk();
        let start = PIECE - SECTOR - 10;
        file.write(start as u64, &[1; 2 * SECTOR]).unwrap();
        let log = disk.take_log();
        let points: Vec<_> = (0..200).map(|seed| (log.len(), seed)).collect();
        let mut torn = 0;
        for (_, _, files) in log.images(points) {
            let bytes: Vec<_> = (0..2 * SECTOR).map(|at| byte(&files[0], start + at)).collect();
            for part in [&bytes[..10], &bytes[10..10 + SECTOR], &bytes[10 + SECTOR..]] {
                assert!(part.iter().all(|byte| *byte == part[0]));
            }
            torn += u32::from(bytes.contains(&0) && bytes.contains(&1));
        }
        assert!(torn > 20, "{torn}");
    }

    #[test]
    fn a_file_that_was_cut_and_grows_again_is_zero_beyond_the_cut() {
        let (_disk, file) = disk();
        file.write(0, &[7; PIECE + 100]).unwrap();
        file.set_len(50).unwrap();
        file.set_len(2 * PIECE as u64).unwrap();
        let mut out = vec![9; 2 * PIECE];
        file.read(0, &mut out).unwrap();
        assert!(out[..50].iter().all(|byte| *byte == 7) && out[50..].iter().all(|byte| *byte == 0));
        assert!(file.read(PIECE as u64, &mut out).is_err(), "beyond the end");
    }

    #[test]
    fn a_full_disk_takes_nothing_until_there_is_room() {
        let (disk, file) = disk();
        disk.set_weather(DiskFaults { fills_up: 1000, ..DiskFaults::default() }, 0);
        assert_eq!(file.write(5, &[1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.set_weather(DiskFaults::default(), 0);
        file.write(5, &[2]).unwrap();
        file.sync_data().unwrap();
        assert_eq!(seen(&disk, 5), [2].into());
    }
}
