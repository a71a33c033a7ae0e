//! What is recorded for later: the audit log and receipts.

use std::path::PathBuf;
use std::time::Duration;

use super::limit::Limit;
use super::reader::Reader;

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Whether there is one.
    pub enabled: bool,
    /// Where its files lie; `None`: `audit` in the data directory.
    pub dir: Option<PathBuf>,
    /// Whether nothing may be approved that cannot be recorded.
    pub required: bool,
    /// Entries from one signed checkpoint to the next, at most.
    pub checkpoint_entries: u64,
    /// Time from one signed checkpoint to the next while there are new entries, at most.
    pub checkpoint_every: Duration,
    /// Days that a file is kept after its last entry; 0: for good.
    pub retention_days: u64,
    /// Whether receipts are written into the log, too.
    pub receipts: bool,
    /// A program and its arguments that is handed each checkpoint; empty: none.
    pub anchor: Vec<String>,
}

const CHECKPOINT_ENTRIES: Limit = Limit::new("audit.checkpoint_entries", 1_000, 1..=1_000_000)
    .documented(&["entries from one signed checkpoint to the next, at most"]);
const CHECKPOINT_MINUTES: Limit =
    Limit::new("audit.checkpoint_minutes", 10, 1..=1_440).documented(&[
        "minutes from one signed checkpoint to the next while there are new entries, at most",
    ]);
const RETENTION_DAYS: Limit = Limit::new("audit.retention_days", 0, 0..=36_500).documented(&[
    "days that a file of the log is kept after its last entry; 0 keeps them for good",
]);

pub(super) fn read(reader: &mut Reader, receipts: bool) -> Audit {
    let audit = Audit {
        enabled: reader.take("audit.enabled", true),
        dir: reader.optional("audit.dir"),
        required: reader.take("audit.required", false),
        checkpoint_entries: reader.limit(CHECKPOINT_ENTRIES),
        checkpoint_every: Duration::from_mins(reader.limit(CHECKPOINT_MINUTES)),
        retention_days: reader.limit(RETENTION_DAYS),
        receipts: reader.take("audit.receipts", false),
        anchor: reader.take("audit.anchor", Vec::new()),
    };
    if audit.required && !audit.enabled {
        reader.wrong("audit.required", "contradicts audit.enabled = false");
    }
    if audit.receipts && !(audit.enabled && receipts) {
        reader.wrong("audit.receipts", "needs receipts = true and audit.enabled = true");
    }
    audit
}
