//! Reading a log as its verifier does: offline, on copied files or beside the relay that writes
//! them, and trusting nothing but the keys that were brought along.
//!
//! What is found: a line that was changed, removed, inserted or moved (the hash in the line after
//! it, and the signature over it, no longer hold), a beginning that retention did not remove, and a
//! tail that is shorter than a checkpoint that somebody kept elsewhere. What cannot be found: lines
//! cut off behind the last checkpoint that is known outside, which is why checkpoints are shipped.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;

use super::entry::{self, CHECKPOINT, CHECKPOINT_TYP, Checkpoint, Head, NO_LINE};
use crate::security::record;
use crate::security::result_token::JwkSet;

/// Longest line: an entry is a few kilobytes, a receipt within it some more.
const LINE_BYTES: usize = 1024 * 1024;

/// What to verify, and against what.
#[derive(Debug, Default)]
pub struct Question {
    /// The files, in the order of their lines.
    pub files: Vec<PathBuf>,
    /// The keys that checkpoints must be signed by; without them only the chain is verified.
    pub keys: Option<JwkSet>,
    /// A checkpoint that was kept outside of the log: its line must be there.
    pub known: Option<Checkpoint>,
    /// Whether these files are only a part, so that the beginning may be missing.
    pub partial: bool,
}

/// A log that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The chain.
    pub chain: String,
    /// The first line's number.
    pub first: u64,
    /// The last line's number.
    pub last: u64,
    /// The last line's hash.
    pub hash: String,
    /// Checkpoints that were found; their signatures hold if keys were given.
    pub checkpoints: u64,
    /// What the last of them says.
    pub checkpoint: Option<Checkpoint>,
    /// Bytes behind the last line: being written right now, or torn by a crash.
    pub unfinished: usize,
}

/// The first thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, if it is about one.
    pub file: Option<PathBuf>,
    /// The line in the file, from 1.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:{}: ", file.display(), self.line)?;
        }
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

/// Verifies a log up to its first fault.
///
/// # Errors
/// [`Fault`].
pub fn verify(question: &Question) -> Result<Report, Fault> {
    // Opened before anything is read: retention may remove a file meanwhile.
    let mut opened = Vec::new();
    for path in &question.files {
        let file = File::open(path).map_err(|error| unreadable(path, 0, &error))?;
        opened.push((path, file));
    }
    let mut reading =
        Reading { question, state: None, first_prev: String::new(), known_seen: false };
    let count = opened.len();
    let mut unfinished = 0;
    for (nth, (path, file)) in opened.into_iter().enumerate() {
        let rest = reading.file(path, file)?;
        if rest > 0 && nth + 1 < count {
            let text = "ends within a line, and is not the last file".to_owned();
            return Err(Fault { file: Some(path.clone()), line: 0, text });
        }
        unfinished = rest;
    }
    reading.finish(unfinished)
}

fn unreadable(path: &std::path::Path, line: usize, error: &io::Error) -> Fault {
    Fault { file: Some(path.to_path_buf()), line, text: format!("cannot be read: {error}") }
}

struct Reading<'a> {
    question: &'a Question,
    state: Option<Report>,
    /// The hash before the first line.
    first_prev: String,
    known_seen: bool,
}

/// A checkpoint's own words, with or without its signature.
fn read_checkpoint(jws: &str, keys: Option<&JwkSet>) -> Result<Checkpoint, String> {
    match keys {
        Some(keys) => record::verify(jws, keys, CHECKPOINT_TYP)
            .map_err(|error| format!("the checkpoint does not count: {error}")),
        None => super::log::claims(jws).ok_or_else(|| "the checkpoint is malformed".to_owned()),
    }
}

/// Reads a checkpoint that was kept outside.
///
/// # Errors
/// A sentence.
pub fn known_checkpoint(text: &str, keys: Option<&JwkSet>) -> Result<Checkpoint, String> {
    let text = text.trim();
    // A line of the log as it was shipped, or the signature alone.
    let jws = match serde_json::from_str::<Head>(text) {
        Ok(head) => head.jws.ok_or("this line is no checkpoint")?,
        Err(_) => text.to_owned(),
    };
    read_checkpoint(&jws, keys)
}

impl Reading<'_> {
    /// Reads a file; gives the bytes behind its last line feed.
    fn file(&mut self, path: &std::path::Path, file: File) -> Result<usize, Fault> {
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        let mut number = 0;
        loop {
            line.clear();
            number += 1;
            reader
                .read_until(b'\n', &mut line)
                .map_err(|error| unreadable(path, number, &error))?;
            if line.pop_if(|last| *last == b'\n').is_none() {
                return Ok(line.len());
            }
            let first = (number == 1).then_some(path);
            self.line(&line, first).map_err(|text| Fault {
                file: Some(path.to_path_buf()),
                line: number,
                text,
            })?;
        }
    }

    fn line(&mut self, line: &[u8], begins: Option<&std::path::Path>) -> Result<(), String> {
        if line.len() > LINE_BYTES {
            return Err("is longer than any entry".to_owned());
        }
        let head: Head = serde_json::from_slice(line).map_err(|_| "is no entry".to_owned())?;
        if let Some(path) = begins {
            let name = path.file_stem().and_then(|name| name.to_str()?.parse::<u64>().ok());
            if name.is_some_and(|named| named != head.seq) {
                return Err(format!("the file is not named by its first entry, {}", head.seq));
            }
        }
        let hash = entry::hash(line);
        match &self.state {
            None => self.begin(&head)?,
            Some(before) => follows(before, &head)?,
        }
        let Some(state) = &mut self.state else { return Ok(()) };
        if head.event == CHECKPOINT {
            let jws = head.jws.as_deref().unwrap_or_default();
            let said = read_checkpoint(jws, self.question.keys.as_ref())?;
            // It covers the line before, whose hash this line holds, too.
            if (&said.chain, said.seq, &said.hash) != (&head.chain, head.seq - 1, &head.prev) {
                return Err("the checkpoint speaks of another line than the one before it".into());
            }
            state.checkpoints += 1;
            state.checkpoint = Some(said);
        }
        (state.last, state.hash) = (head.seq, hash);
        self.look_for_known()
    }

    fn begin(&mut self, head: &Head) -> Result<(), String> {
        if head.seq == 0 || (head.seq == 1) != (head.prev == NO_LINE) {
            return Err("no chain begins like this".to_owned());
        }
        self.first_prev.clone_from(&head.prev);
        self.state = Some(Report {
            chain: head.chain.clone(),
            first: head.seq,
            last: head.seq - 1,
            hash: head.prev.clone(),
            checkpoints: 0,
            checkpoint: None,
            unfinished: 0,
        });
        Ok(())
    }

    fn look_for_known(&mut self) -> Result<(), String> {
        let (Some(known), Some(state)) = (&self.question.known, &self.state) else { return Ok(()) };
        if known.chain != state.chain {
            return Err("is of another chain than the known checkpoint".to_owned());
        }
        if state.last == known.seq {
            if state.hash != known.hash {
                return Err(format!(
                    "entry {} is not the one that the known checkpoint covers: the log was \
                     written anew",
                    known.seq
                ));
            }
            self.known_seen = true;
        }
        Ok(())
    }

    fn finish(self, unfinished: usize) -> Result<Report, Fault> {
        let whole = |text: String| Fault { file: None, line: 0, text };
        let Some(mut report) = self.state else {
            return match self.question.known {
                Some(_) => Err(whole("the log is empty, and a checkpoint of it is known".into())),
                None => Err(whole("there is no entry".to_owned())),
            };
        };
        report.unfinished = unfinished;
        if let Some(known) = &self.question.known
            && !self.known_seen
        {
            let text = if known.seq > report.last {
                format!(
                    "the log ends with entry {}, but a checkpoint of entry {} is known: its end \
                     was cut off",
                    report.last, known.seq
                )
            } else if known.seq + 1 == report.first {
                // Retention removed the line itself, and its hash is where the log begins.
                let start = report.checkpoint.as_ref().map(|said| &said.first_prev);
                if start == Some(&known.hash) {
                    return Ok(report);
                }
                "the log does not begin where the known checkpoint ends".to_owned()
            } else {
                format!("the known checkpoint's entry {} passed its retention", known.seq)
            };
            return Err(whole(text));
        }
        if report.first > 1 && !self.question.partial {
            let start = report.checkpoint.as_ref();
            let from = start.map_or(1, |said| said.first_seq);
            let begins = (report.first, &self.first_prev);
            if start.is_none_or(|said| {
                said.first_seq < begins.0
                    || (said.first_seq == begins.0 && said.first_prev != *begins.1)
            }) {
                return Err(whole(format!(
                    "entries {from} to {} are missing at the beginning, and no checkpoint says \
                     that they passed their retention",
                    report.first - 1
                )));
            }
        }
        Ok(report)
    }
}

/// Whether a line is the next of its chain.
fn follows(before: &Report, head: &Head) -> Result<(), String> {
    if head.chain != before.chain {
        return Err("is of another chain than the line before it".to_owned());
    }
    if head.seq != before.last + 1 {
        return Err(format!("is entry {}, where {} must follow", head.seq, before.last + 1));
    }
    if head.prev != before.hash {
        return Err(format!(
            "entry {} does not follow from entry {}: that one was changed after it was written, \
             or one of the two was put in its place",
            head.seq, before.last
        ));
    }
    Ok(())
}
