//! What the log says already of each ceremony: read back once at the start, beside serving, so that
//! what a crash left unwritten can be told from what is there.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use fido_relay_proto::{CeremonyId, UnixMillis};
use serde::Deserialize;

use super::facts::Steps;
use super::log::segments;
use crate::rfc3339;

/// How far back before the last line is read. A ceremony stays in the store for a day after its
/// end, lasts ten minutes at most, and is swept within the next quarter of an hour.
const WINDOW_MS: u64 = 26 * 60 * 60 * 1000;

/// What is known to be written.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Of each ceremony with an entry since `since`.
    pub(super) steps: HashMap<CeremonyId, Steps>,
    /// Of ceremonies that ended before, everything is taken as written.
    pub(super) since: UnixMillis,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    time: &'a str,
    #[serde(borrow)]
    event: &'a str,
    ceremony: Option<CeremonyId>,
    nth: Option<u8>,
}

impl Written {
    /// Reads the segments of a directory, newest first, as far back as can matter.
    ///
    /// # Errors
    /// They cannot be read.
    pub(super) fn read(directory: &Path) -> io::Result<Self> {
        let mut written = Self::default();
        let mut last: Option<UnixMillis> = None;
        for (_, path) in segments(directory)?.into_iter().rev() {
            let text = std::fs::read(&path)?;
            let mut oldest = None;
            for line in text.split(|byte| *byte == b'\n') {
                // Which lines are sound is the verifier's question.
                let Ok(line) = serde_json::from_slice::<Line<'_>>(line) else { continue };
                let at = rfc3339::parse(line.time);
                oldest = oldest.or(at);
                last = last.max(at);
                if let (Some(id), Some(steps)) = (line.ceremony, Steps::of(line.event, line.nth)) {
                    let known = written.steps.entry(id).or_default();
                    *known = known.and(steps);
                }
            }
            let since = last.map(|last| UnixMillis(last.0.saturating_sub(WINDOW_MS)));
            if let (Some(oldest), Some(since)) = (oldest, since)
                && oldest < since
            {
                written.since = since;
                break;
            }
        }
        Ok(written)
    }
}
