//! The first start after an upgrade from a version without a journal: what a crash of that version
//! left unwritten is told from the log and from the store, once. Nothing of it is needed afterwards.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use fido_relay_proto::{CeremonyId, UnixMillis};
use serde::Deserialize;

use super::log::segments;
use crate::core::ceremony::{Ceremony, Fact, FactKind};
use crate::journal::{EntryKind, Journal};
use crate::ports::{Bucket, Store, StoreError, records};
use crate::rfc3339;

/// How far back before the last line is read. A ceremony stays in the store for a day after its
/// end, lasts ten minutes at most, and is swept within the next quarter of an hour.
const WINDOW_MS: u64 = 26 * 60 * 60 * 1000;

/// Records that one page of the walk reads.
const PAGE: usize = 256;

/// What the log has of each ceremony.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Of each ceremony with an entry since `since`: the kinds of its entries, of wrong codes with
    /// their number.
    entries: HashMap<CeremonyId, HashSet<(EntryKind, Option<u8>)>>,
    /// Of ceremonies that ended before, everything is taken as written.
    since: UnixMillis,
}

#[derive(Deserialize)]
struct EarlierLine<'a> {
    /// None in an entry of the journal.
    #[serde(borrow, default)]
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
                let Ok(line) = serde_json::from_slice::<EarlierLine<'_>>(line) else { continue };
                written.know(&line);
                let at = rfc3339::parse(line.time);
                oldest = oldest.or(at);
                last = last.max(at);
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

    /// Adds an entry of the journal.
    pub(super) fn add(&mut self, entry: &str) {
        if let Ok(line) = serde_json::from_str::<EarlierLine<'_>>(entry) {
            self.know(&line);
        }
    }

    fn know(&mut self, line: &EarlierLine<'_>) {
        if let Some(id) = line.ceremony {
            let known = self.entries.entry(id).or_default();
            known.extend(EntryKind::named(line.event).map(|kind| (kind, line.nth)));
        }
    }

    /// The entries that the log lacks of a ceremony, marked as recovered.
    fn missing(&self, ceremony: &Ceremony, journal: &Journal) -> Vec<String> {
        let known = self.entries.get(&ceremony.request.id);
        let ended_before =
            ceremony.closed().is_some_and(|closed| known.is_none() && closed.at < self.since);
        if ended_before {
            return Vec::new();
        }
        let is_missing = |fact: &&Fact| {
            known_by(&fact.kind).is_some_and(|it| known.is_none_or(|known| !known.contains(&it)))
        };
        let facts = ceremony.history.iter().filter(is_missing);
        let entries = facts.flat_map(|fact| journal.entries(ceremony, fact));
        let recovered = entries.filter_map(|entry| {
            Some(format!(r#"{},"recovered":true}}"#, entry.strip_suffix('}')?))
        });
        recovered.collect()
    }
}

/// What the entry of a fact is known by; none: an earlier version wrote it only as it happened.
fn known_by(fact: &FactKind) -> Option<(EntryKind, Option<u8>)> {
    let nth = if let FactKind::WrongCode { nth } = fact { Some(*nth) } else { None };
    EntryKind::of(fact).filter(|kind| *kind != EntryKind::Woken).map(|kind| (kind, nth))
}

/// The entries that the log lacks of the stored ceremonies after `after`, some at a time, and where
/// to go on; none: that was all.
///
/// # Errors
/// The store's.
pub(super) async fn page(
    store: &dyn Store,
    after: &str,
    (written, journal): (&Written, &Journal),
) -> Result<Option<(Vec<String>, String)>, StoreError> {
    let page = store.page(Bucket::Ceremonies, after, PAGE).await?;
    let Some((last, _)) = page.last() else { return Ok(None) };
    let ceremonies = page.iter().filter_map(|(_, stored)| records::parse::<Ceremony>(stored).ok());
    let missing = ceremonies.flat_map(|ceremony| written.missing(&ceremony, journal)).collect();
    Ok(Some((missing, last.clone())))
}
