//! The write-ahead log in front of the tables: two files used alternately. Each begins with a head,
//! followed by one frame per group of batches, which is flushed before the group is acknowledged.
//! Files are never truncated but overwritten in place: generation and opening distinguish current
//! frames from those of an earlier use of the file, or of another life of a restored store.
//!
//! ```text
//!  head   magic · opening · generation · number of the first frame          · checksum
//!  frame  magic · generation · number · length of the payload · payload     · checksum
//! ```
//! The checksum of a frame covers the opening, too. A frame is written only after the one before it
//! was flushed. So a frame with a wrong checksum was never acknowledged, unless a valid frame of its
//! generation follows it: then the file is damaged.

use std::io;

use aws_lc_rs::digest::{Context, SHA256};
use redb::StorageBackend;

use super::payload::{self, BatchGroup};

/// Alignment of frames, in bytes.
const ALIGN: u64 = 64;
/// Bytes before a frame's payload.
const PREFIX: usize = 48;
const MAGIC: [u8; 8] = *b"fdrlylog";
/// Bytes that a file grows by. New space is filled with zeros and flushed before it is used, so that
/// an append changes no file metadata.
const GROWTH: u64 = 256 * 1024;
/// Largest size of a file, and so of a frame.
pub(super) const SIZE: u64 = 16 * 1024 * 1024;
/// Bytes of SHA-256 that are kept of a head or frame.
const CHECKSUM: usize = 16;

/// The head of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogHead {
    /// The random id of the opening of the store that wrote it.
    pub(super) opening: [u8; 16],
    pub(super) generation: u64,
    /// The number of the file's first frame.
    pub(super) first: u64,
}

/// A file of the log, ready to be appended to.
#[derive(Debug)]
pub(super) struct LogFile {
    file: Box<dyn StorageBackend>,
    head: LogHead,
    /// Where the next frame goes.
    end: u64,
    /// The number of the next frame.
    next: u64,
    /// Bytes of the file that are allocated and zeroed.
    allocated: u64,
}

/// Why a file of the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the log is damaged before its end, at byte {0}")]
    Damaged(u64),
}

/// Why a frame was not appended.
#[derive(Debug)]
pub(super) enum AppendError {
    /// The system refused the write: the frame is not in the file.
    Refused(io::Error),
    /// The frame may be in the file until [`LogFile::withdraw`] has overwritten it.
    Unknown(io::Error),
}

/// Whether the system refused a write because of missing space, before writing anything.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// The valid content of a log file.
#[derive(Debug)]
pub(super) struct LogContent {
    pub(super) head: LogHead,
    pub(super) frames: Vec<BatchGroup>,
}

impl LogFile {
    /// Writes a new head: the file holds no frames after it.
    pub(super) fn begin(file: Box<dyn StorageBackend>, head: LogHead) -> io::Result<Self> {
        let allocated = file.len()?;
        let end = aligned(HEAD_BYTES as u64);
        let mut log = Self { file, head, end, next: head.first, allocated };
        log.grow(end)?;
        log.file.write(0, &head.encode())?;
        log.file.sync_data()?;
        Ok(log)
    }

    pub(super) fn begin_again(self, head: LogHead) -> io::Result<Self> {
        Self::begin(self.file, head)
    }

    /// Continues on a new handle of the same file.
    pub(super) fn replace(&mut self, file: Box<dyn StorageBackend>) {
        self.file = file;
    }

    pub(super) fn head(&self) -> LogHead {
        self.head
    }

    /// The number of the next frame.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The bytes of head and frames.
    pub(super) fn used(&self) -> u64 {
        self.end
    }

    /// Whether a payload of this length still fits.
    pub(super) fn has_room(&self, payload: usize) -> bool {
        self.end + frame_bytes(payload) <= SIZE
    }

    /// Allocates the space of a frame.
    pub(super) fn make_room(&mut self, payload: usize) -> io::Result<()> {
        self.grow(self.end + frame_bytes(payload))
    }

    /// Writes a frame and flushes it.
    pub(super) fn append(&mut self, payload: &[u8]) -> Result<(), AppendError> {
        let frame = frame(&self.head, self.next, payload);
        if let Err(error) = self.file.write(self.end, &frame) {
            return Err(if is_refusal(&error) && !self.begins_with(&frame) {
                AppendError::Refused(error)
            } else {
                AppendError::Unknown(error)
            });
        }
        self.file.sync_data().map_err(AppendError::Unknown)?;
        self.end += frame_bytes(payload.len());
        self.next += 1;
        Ok(())
    }

    /// Overwrites the place of the next frame durably, so that it holds no valid frame.
    pub(super) fn withdraw(&mut self) -> io::Result<()> {
        self.file.write(self.end, &[0; ALIGN as usize])?;
        self.file.sync_data()
    }

    /// Whether the bytes at the end of the log begin as this frame does, or cannot be read.
    fn begins_with(&self, frame: &[u8]) -> bool {
        let mut found = [0; PREFIX];
        self.file.read(self.end, &mut found).is_err() || frame.starts_with(&found)
    }

    fn grow(&mut self, to: u64) -> io::Result<()> {
        if to <= self.allocated {
            return Ok(());
        }
        let to = to.next_multiple_of(GROWTH).min(SIZE).max(to);
        self.file.set_len(to)?;
        let zeros = vec![0; 64 * 1024];
        let mut at = self.allocated;
        while at < to {
            let bytes = usize::try_from(to - at).map_or(zeros.len(), |left| left.min(zeros.len()));
            self.file.write(at, zeros.get(..bytes).unwrap_or(&zeros))?;
            at += bytes as u64;
        }
        self.file.sync_data()?;
        self.allocated = to;
        Ok(())
    }
}

const HEAD_BYTES: usize = 8 + 16 + 8 + 8 + CHECKSUM;

impl LogHead {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.opening);
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend(self.first.to_le_bytes());
        bytes.extend(checksum(&[&bytes]));
        bytes
    }

    fn decode(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let (content, sum) = bytes.split_last_chunk::<CHECKSUM>()?;
        if checksum(&[content]) != *sum {
            return None;
        }
        let (magic, rest) = content.split_first_chunk::<8>()?;
        let (opening, rest) = rest.split_first_chunk::<16>()?;
        let (generation, first) = rest.split_first_chunk::<8>()?;
        let first = u64::from_le_bytes(first.try_into().ok()?);
        let head = Self { opening: *opening, generation: u64::from_le_bytes(*generation), first };
        (*magic == MAGIC).then_some(head)
    }
}

/// Reads a file; `None` if it has no valid head.
pub(super) fn read(file: &dyn StorageBackend) -> Result<Option<LogContent>, ReadError> {
    let length = file.len()?;
    let mut head = [0; HEAD_BYTES];
    if length < head.len() as u64 {
        return Ok(None);
    }
    file.read(0, &mut head)?;
    let Some(head) = LogHead::decode(&head) else { return Ok(None) };
    let mut bytes = vec![0; usize::try_from(length.min(SIZE)).unwrap_or_default()];
    file.read(0, &mut bytes)?;
    let mut frames = Vec::new();
    let (mut at, mut next) = (aligned(HEAD_BYTES as u64), head.first);
    while let Some(payload) = frame_at(&bytes, at, &head, |number| number == next) {
        frames.push(payload::decode(payload).ok_or(ReadError::Damaged(at))?);
        at += frame_bytes(payload.len());
        next += 1;
    }
    let mut beyond = at + ALIGN;
    while beyond < bytes.len() as u64 {
        if frame_at(&bytes, beyond, &head, |number| number > next).is_some() {
            return Err(ReadError::Damaged(at));
        }
        beyond += ALIGN;
    }
    Ok(Some(LogContent { head, frames }))
}

/// The payload of the frame at this position, if it is valid, of this head and of a wanted number.
fn frame_at<'b>(
    bytes: &'b [u8],
    at: u64,
    head: &LogHead,
    is_number: impl Fn(u64) -> bool,
) -> Option<&'b [u8]> {
    let frame = bytes.get(usize::try_from(at).ok()?..)?;
    let (prefix, rest) = frame.split_first_chunk::<PREFIX>()?;
    let (fields, sum) = prefix.split_last_chunk::<CHECKSUM>()?;
    let (magic, fields) = fields.split_first_chunk::<8>()?;
    let (of, fields) = fields.split_first_chunk::<8>()?;
    let (number, length) = fields.split_first_chunk::<8>()?;
    let ours = *magic == MAGIC && u64::from_le_bytes(*of) == head.generation;
    if !ours || !is_number(u64::from_le_bytes(*number)) {
        return None;
    }
    let length = u64::from_le_bytes(length.try_into().ok()?);
    let payload = rest.get(..usize::try_from(length).ok()?)?;
    let length = length.to_le_bytes();
    (checksum(&[&head.opening, magic, of, number, &length, payload]) == *sum).then_some(payload)
}

fn frame(head: &LogHead, number: u64, payload: &[u8]) -> Vec<u8> {
    let (of, number) = (head.generation.to_le_bytes(), number.to_le_bytes());
    let length = (payload.len() as u64).to_le_bytes();
    let sum = checksum(&[&head.opening, &MAGIC, &of, &number, &length, payload]);
    [MAGIC.as_slice(), &of, &number, &length, &sum, payload].concat()
}

/// Bytes that a frame takes, up to where the next may begin.
fn frame_bytes(payload: usize) -> u64 {
    aligned((PREFIX + payload) as u64)
}

fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGN)
}

fn checksum(parts: &[&[u8]]) -> [u8; CHECKSUM] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(context.finish().as_ref().split_at(CHECKSUM).0);
    sum
}
