//! The table `audit`: the audit log.

use std::path::PathBuf;
use std::time::Duration;

use super::limit::Limit;
use super::reader::ConfigReader;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    pub enabled: bool,
    /// Directory of its files; `None`: `audit` in the data directory.
    pub dir: Option<PathBuf>,
    /// Whether ceremonies are refused while the log cannot be written.
    pub required: bool,
    /// Most entries from one signed checkpoint to the next.
    pub checkpoint_entries: u64,
    /// Longest time from one signed checkpoint to the next while there are new entries.
    pub checkpoint_every: Duration,
    /// Days that a file is kept after its last entry; 0: forever.
    pub retention_days: u64,
    /// Whether receipts are written into the log.
    pub receipts: bool,
    /// Program and arguments that get each checkpoint on standard input; empty: none.
    pub anchor: Vec<String>,
}

const CHECKPOINT_ENTRIES: Limit = Limit::new("audit.checkpoint_entries", 1_000, 1..=1_000_000)
    .documented(&["entries between signed checkpoints, at most"]);
const CHECKPOINT_MINUTES: Limit = Limit::new("audit.checkpoint_minutes", 10, 1..=1_440)
    .documented(&["minutes between signed checkpoints while there are new entries, at most"]);
const RETENTION_DAYS: Limit = Limit::new("audit.retention_days", 0, 0..=36_500).documented(&[
    "days that a file of the log is kept after its last entry; 0 keeps them for good",
]);

pub(super) fn read(reader: &mut ConfigReader, receipts: bool) -> AuditConfig {
    let audit = AuditConfig {
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
        reader.reject("audit.required", "contradicts audit.enabled = false");
    }
    if audit.receipts && !(audit.enabled && receipts) {
        reader.reject("audit.receipts", "needs receipts = true and audit.enabled = true");
    }
    audit
}
