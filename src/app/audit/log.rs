//! The files: lines appended to segments of bounded size, flushed together, never rewritten.
//!
//! ```text
//!  audit/00000000000000000001.jsonl   a segment is named by the number of its first line
//!        00000000000000131072.jsonl   a new one after SEGMENT_BYTES or a day
//!        lock                         one relay at a time
//! ```
//! What is cut off is what was never acknowledged: half a line behind the last line feed after a
//! crash, which the next entry tells of. It knows nothing of ceremonies, and its clock is given.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fido_relay_proto::UnixMillis;

use super::entry::{self, CHECKPOINT, Checkpoint, Head, NO_LINE};
use crate::journal::EntryPosition;
use crate::rfc3339;
use crate::security::random;

/// A segment that has grown to this is followed by a new one.
pub(super) const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// So is one that began so long ago: retention removes whole segments.
const SEGMENT_MS: u64 = 24 * 60 * 60 * 1000;
/// How much of a segment's end is read at once when looking for its last lines.
const TAIL_BYTES: u64 = 256 * 1024;

/// The end of a log that is written.
#[derive(Debug)]
pub(super) struct Log {
    directory: PathBuf,
    segment_bytes: u64,
    _lock: Lock,
    segment: Option<LogSegment>,
    chain: String,
    next_seq: u64,
    prev: String,
    first: (u64, String),
    since_checkpoint: u64,
    /// The last entry of the journal that is in it; none: its lines are of an earlier version.
    position: Option<EntryPosition>,
}

/// One relay at a time.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    /// Closing the file is not enough: a process that is being started at this moment has a copy of
    /// it until it runs its program.
    fn drop(&mut self) {
        drop(self.0.unlock());
    }
}

/// A line to be appended.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// The entry of the journal that it holds; none: it is the log's own.
    pub(super) place: Option<EntryPosition>,
    /// A JSON object.
    pub(super) body: String,
}

impl Line {
    /// A line of the log's own.
    pub(super) fn own(body: impl ToString) -> Self {
        Self { place: None, body: body.to_string() }
    }
}

#[derive(Debug)]
struct LogSegment {
    file: File,
    /// Bytes that are written and flushed; what is beyond is to be cut off.
    bytes: u64,
    began: UnixMillis,
}

/// What was cut off the end after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Torn {
    /// How many bytes.
    pub(super) bytes: usize,
    /// Their SHA-256.
    pub(super) sha256: String,
}

/// The segments of a directory, oldest first, with the number of their first line.
///
/// # Errors
/// The directory cannot be read.
pub fn segments(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let seq = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jsonl"));
        if let Some(Ok(seq)) = seq.map(str::parse) {
            found.push((seq, path));
        }
    }
    found.sort();
    Ok(found)
}

impl Log {
    /// Opens the log of a directory, made if missing. Gives the log and what a crash had torn.
    ///
    /// # Errors
    /// The files cannot be had, or are another relay's.
    pub(super) fn open(directory: &Path, segment_bytes: u64) -> io::Result<(Self, Option<Torn>)> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(directory)?;
        let lock = private(OpenOptions::new().write(true).create(true).truncate(false))
            .open(directory.join("lock"))?;
        lock.try_lock().map_err(|_| io::Error::other("another relay writes this audit log"))?;
        let mut log = Self {
            directory: directory.to_path_buf(),
            segment_bytes,
            _lock: Lock(lock),
            segment: None,
            chain: URL_SAFE_NO_PAD.encode(random::bytes::<16>()),
            next_seq: 1,
            prev: NO_LINE.to_owned(),
            first: (1, NO_LINE.to_owned()),
            since_checkpoint: 0,
            position: None,
        };
        let torn = log.take_up()?;
        Ok((log, torn))
    }

    /// Finds the end of what is there.
    fn take_up(&mut self) -> io::Result<Option<Torn>> {
        let mut torn = None;
        for (_, path) in segments(&self.directory)?.into_iter().rev() {
            let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
            let end = End::read(&mut file)?;
            if !end.torn.is_empty() {
                torn = Some(Torn { bytes: end.torn.len(), sha256: entry::hash(&end.torn) });
                file.set_len(end.bytes)?;
                file.sync_all()?;
            }
            let Some((head, hash)) = end.last else {
                // A segment without a line was to be the next.
                fs::remove_file(&path)?;
                continue;
            };
            let began = first_line(&path)?.and_then(|head| rfc3339::parse(&head.time));
            self.chain = head.chain;
            self.next_seq = head.seq + 1;
            self.prev = hash;
            self.position = head.position.and_then(|position| position.parse().ok());
            self.segment =
                Some(LogSegment { file, bytes: end.bytes, began: began.unwrap_or_default() });
            break;
        }
        if let Some((seq, checkpoint)) = self.last_checkpoint()? {
            self.first = (checkpoint.first_seq, checkpoint.first_prev);
            self.since_checkpoint = self.next_seq - 1 - seq;
        } else {
            self.since_checkpoint = self.next_seq - 1;
        }
        Ok(torn)
    }

    /// The newest checkpoint, which is within the newest segments. Its signature is not asked: what
    /// is on disk is verified by those who have the keys from elsewhere.
    fn last_checkpoint(&self) -> io::Result<Option<(u64, Checkpoint)>> {
        let mark = format!(r#""event":"{CHECKPOINT}""#);
        let found_in = |text: &[u8]| {
            text.split(|byte| *byte == b'\n').rev().find_map(|line| {
                let line = std::str::from_utf8(line).ok().filter(|line| line.contains(&mark))?;
                let head: Head = serde_json::from_str(line).ok()?;
                Some((head.seq, claims(head.jws.as_deref()?)?))
            })
        };
        for (_, path) in segments(&self.directory)?.into_iter().rev() {
            let mut file = File::open(&path)?;
            // Mostly it is near the end: a start must not take as long as reading a whole segment.
            for bytes in [4 * TAIL_BYTES, u64::MAX] {
                file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(bytes)))?;
                let mut text = Vec::new();
                file.read_to_end(&mut text)?;
                let found = found_in(&text);
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// Appends lines and flushes them. Nothing is appended after an error.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn append(&mut self, lines: &[Line], now: UnixMillis) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.rotate(now)?;
        let (mut seq, mut prev) = (self.next_seq, self.prev.clone());
        let (mut text, mut position) = (String::new(), self.position.unwrap_or_default());
        for Line { place, body } in lines {
            position = place.unwrap_or(position);
            let line = entry::line((seq, &prev, &self.chain), now, position, body);
            prev = entry::hash(line.as_bytes());
            seq += 1;
            text.push_str(&line);
            text.push('\n');
        }
        let Some(segment) = &mut self.segment else {
            return Err(io::Error::other("there is no segment"));
        };
        // What an earlier try left behind its end is no part of the log.
        if segment.file.metadata()?.len() != segment.bytes {
            segment.file.set_len(segment.bytes)?;
        }
        segment.file.write_all(text.as_bytes())?;
        segment.file.sync_data()?;
        segment.bytes += text.len() as u64;
        self.since_checkpoint += lines.len() as u64;
        (self.next_seq, self.prev, self.position) = (seq, prev, Some(position));
        Ok(())
    }

    fn rotate(&mut self, now: UnixMillis) -> io::Result<()> {
        let full = |segment: &LogSegment| {
            segment.bytes >= self.segment_bytes
                || (segment.bytes > 0 && now.millis_since(segment.began) >= SEGMENT_MS)
        };
        if self.segment.as_ref().is_some_and(|segment| !full(segment)) {
            return Ok(());
        }
        let path = self.directory.join(format!("{:020}.jsonl", self.next_seq));
        // A try before this one may have made the file and not got further.
        let file = private(OpenOptions::new().read(true).append(true).create(true)).open(path)?;
        file.set_len(0)?;
        // So that the file's name survives a power cut as its lines do.
        File::open(&self.directory)?.sync_all()?;
        self.segment = Some(LogSegment { file, bytes: 0, began: now });
        Ok(())
    }

    /// Lines of the log's own are from now on before this place.
    pub(super) fn go_on_at(&mut self, next: EntryPosition) {
        self.position = Some(next.before());
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its chain, the number of its last line and that line's hash.
    pub(super) fn end(&self) -> (&str, u64, &str) {
        (&self.chain, self.next_seq - 1, &self.prev)
    }

    /// The last entry of the journal that is in it; none: there is none, or its lines are of an
    /// earlier version.
    pub(super) fn position(&self) -> Option<EntryPosition> {
        // Lines of the log's own that precede every entry name row 0, which no commit has.
        self.position.filter(|position| position.row > 0)
    }

    /// Entries since the last checkpoint.
    pub(super) fn since_checkpoint(&self) -> u64 {
        self.since_checkpoint
    }

    /// What a checkpoint says now; `None` while there is nothing.
    pub(super) fn checkpoint(&self, issuer: &str, now: UnixMillis) -> Option<Checkpoint> {
        (self.next_seq > 1).then(|| Checkpoint {
            iss: issuer.to_owned(),
            iat: now.as_secs(),
            chain: self.chain.clone(),
            seq: self.next_seq - 1,
            hash: self.prev.clone(),
            first_seq: self.first.0,
            first_prev: self.first.1.clone(),
        })
    }

    /// Appends a signed checkpoint.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn append_checkpoint(&mut self, jws: &str, now: UnixMillis) -> io::Result<()> {
        self.append(&[Line::own(format!(r#"{{"event":"{CHECKPOINT}","jws":"{jws}"}}"#))], now)?;
        self.since_checkpoint = 0;
        Ok(())
    }

    /// The segments whose last line was written before `before`. From the next checkpoint on the
    /// log begins behind them; they are to be removed once that is written.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn outlived(&mut self, before: UnixMillis) -> io::Result<Vec<PathBuf>> {
        let all = segments(&self.directory)?;
        let mut outlived = Vec::new();
        for pair in all.windows(2) {
            let [(_, path), (_, next)] = pair else { break };
            // A segment's last line is not younger than the first of the next.
            let Some(head) = first_line(next)? else { break };
            if rfc3339::parse(&head.time).is_none_or(|began| began >= before) {
                break;
            }
            self.first = (head.seq, head.prev);
            outlived.push(path.clone());
        }
        Ok(outlived)
    }
}

/// The chain of a directory's log, and the hash of the line with this number; none: there is no such
/// line. A line that is being written may be missing.
///
/// # Errors
/// The disk's.
pub(super) fn find(directory: &Path, seq: u64) -> io::Result<Option<(String, String)>> {
    let all = segments(directory)?;
    let Some((first, path)) = all.into_iter().rev().find(|(first, _)| *first <= seq) else {
        return Ok(None);
    };
    let nth = usize::try_from(seq - first).unwrap_or(usize::MAX);
    let Some(line) = BufReader::new(File::open(path)?).split(b'\n').nth(nth) else {
        return Ok(None);
    };
    let line = line?;
    let head = serde_json::from_slice::<Head>(&line).ok().filter(|head| head.seq == seq);
    Ok(head.map(|head| (head.chain, entry::hash(&line))))
}

/// The claims of a checkpoint, unverified.
pub(super) fn claims(jws: &str) -> Option<Checkpoint> {
    let payload = jws.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// Readable by this user alone.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// The head of a segment's first line.
fn first_line(path: &Path) -> io::Result<Option<Head>> {
    let mut start = Vec::new();
    File::open(path)?.take(TAIL_BYTES).read_to_end(&mut start)?;
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(serde_json::from_slice(line).ok())
}

/// The end of a segment.
struct End {
    /// The last line that is one, with its hash.
    last: Option<(Head, String)>,
    /// Bytes up to and with that line's line feed.
    bytes: u64,
    /// What is behind them.
    torn: Vec<u8>,
}

impl End {
    /// Reads backwards until a line is found. A power cut may leave bytes that are no lines in
    /// place of the last ones: they were never flushed, so they are torn, too.
    fn read(file: &mut File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut from = length.saturating_sub(TAIL_BYTES);
        loop {
            file.seek(SeekFrom::Start(from))?;
            let mut tail = Vec::new();
            file.read_to_end(&mut tail)?;
            if let Some(end) = Self::within(&tail, from) {
                return Ok(end);
            }
            if from == 0 {
                return Ok(Self { last: None, bytes: 0, torn: tail });
            }
            from = from.saturating_sub(TAIL_BYTES);
        }
    }

    fn within(tail: &[u8], from: u64) -> Option<Self> {
        let mut upto = tail.len();
        while let Some(feed) = tail[..upto].iter().rposition(|byte| *byte == b'\n') {
            let start = tail[..feed].iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
            // Without a line feed before it only the file's beginning makes it a whole line.
            let start = start.or((from == 0).then_some(0))?;
            let line = &tail[start..feed];
            if let Ok(head) = serde_json::from_slice::<Head>(line) {
                return Some(Self {
                    last: Some((head, entry::hash(line))),
                    bytes: from + feed as u64 + 1,
                    torn: tail[feed + 1..].to_vec(),
                });
            }
            upto = feed;
        }
        None
    }
}
