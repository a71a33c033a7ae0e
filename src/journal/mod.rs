//! What the journal says: an entry for each fact of a ceremony, as a function of the record and the
//! fact, and the readers' cursors.
//!
//! ```text
//!   commit: records + entries ──▶ journal ─┬─▶ audit log   (outside the store: flushed, then its cursor)
//!                                          └─▶ outbox of webhooks   (in one batch with its cursor)
//! ```
//! An entry is one JSON object, and the audit log's line is made around it as it is. Its first
//! member is `event`. It knows no store's rows and no reader's output.

mod cursor;
mod entry;

use fido_relay_proto::Reason;

pub use self::cursor::{
    Cursor, EntryPosition, InvalidEntryPosition, JournalReader, Progress, ROWS, entries, trim,
    trim_once,
};
pub use self::entry::EntryKind;

use self::entry::{Entry, More, answered, closed, opened};
use crate::core::ceremony::{Ceremony, Fact, FactKind};
use crate::ports::{Batch, SecurityEvent, SecurityEventKind};

/// How the journal of a relay is written.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// The relay's public URL, the issuer of receipts.
    pub issuer: String,
    /// Whether an end's entry holds its receipt.
    pub receipts: bool,
    /// Whether there is an audit log: without one, facts that no webhook is about have no entry.
    pub audited: bool,
}

impl Journal {
    /// Adds the entries of these facts, which the ceremony's history ends with, to a batch.
    #[must_use]
    pub fn append_facts(&self, batch: Batch, ceremony: &Ceremony, facts: &[Fact]) -> Batch {
        let entries = facts.iter().flat_map(|fact| self.entries(ceremony, fact));
        entries.fold(batch, Batch::entry)
    }

    /// The entries of one fact, in their order. `ceremony` has the fact in its history.
    #[must_use]
    pub fn entries(&self, ceremony: &Ceremony, fact: &Fact) -> Vec<String> {
        let request = &ceremony.request;
        let beside = beside(ceremony, fact).filter(|_| self.audited);
        let is_written = self.audited || matches!(fact.kind, FactKind::Closed { .. });
        let Some(kind) = EntryKind::of(&fact.kind).filter(|_| is_written) else {
            return beside.into_iter().collect();
        };
        let more = match fact.kind {
            FactKind::Closed { outcome, reason } => {
                let receipts = (self.issuer.as_str(), self.receipts && self.audited);
                closed(ceremony, (outcome, reason), receipts)
            }
            FactKind::Opened => opened(request),
            FactKind::WrongCode { nth } => More::WrongCode { nth },
            FactKind::Challenged { attempt: Some(attempt) } => More::Challenged { attempt },
            FactKind::Card { code: Some(card_code), .. } => More::Card { card_code },
            FactKind::Answered { attempt, digest, by } => answered(attempt, digest, by),
            FactKind::Sent
            | FactKind::Lost
            | FactKind::Woken
            | FactKind::Delivered
            | FactKind::Previewed
            | FactKind::Claimed
            | FactKind::Challenged { attempt: None }
            | FactKind::Card { code: None, .. }
            | FactKind::Suppressed { .. } => More::Nothing {},
        };
        let mut entry = Entry::new(kind, request, fact.at);
        (entry.device, entry.more) = (fact.device, more);
        entry.text().into_iter().chain(beside).collect()
    }
}

/// What a fact adds to the trail of its ceremony: an alarm, or that no device was asked.
fn beside(ceremony: &Ceremony, fact: &Fact) -> Option<String> {
    let request = &ceremony.request;
    let (ceremony_id, client_id) = (request.id, request.client_id);
    let username = request.username.clone();
    let what = match fact.kind {
        FactKind::Closed { reason: Some(Reason::NotMe), .. } => {
            SecurityEventKind::NotMe { ceremony_id, client_id, device_id: fact.device?, username }
        }
        FactKind::Suppressed { why } => {
            SecurityEventKind::Silenced { ceremony_id, client_id, username, why: why? }
        }
        FactKind::Opened
        | FactKind::Sent
        | FactKind::Lost
        | FactKind::Woken
        | FactKind::Delivered
        | FactKind::Previewed
        | FactKind::WrongCode { .. }
        | FactKind::Claimed
        | FactKind::Challenged { .. }
        | FactKind::Card { .. }
        | FactKind::Answered { .. }
        | FactKind::Closed { .. } => return None,
    };
    Some(SecurityEvent::new(request.tenant.clone(), fact.at, what).entry())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::core::ceremony::with_every_kind;

    #[test]
    fn every_kind_of_fact_has_its_entry() {
        let issuer = "https://relay.example.com".to_owned();
        let journal = Journal { issuer, receipts: false, audited: true };
        let ceremony = with_every_kind();
        let written: Vec<_> = ceremony
            .history
            .iter()
            .flat_map(|fact| journal.entries(&ceremony, fact))
            .map(|body| body.replace(r#","tenant":"default","ceremony":"cer_BQUFBQUFBQUFBQUFBQUFBQ","client":"cli_BgYGBgYGBgYGBgYGBgYGBg","user":"ada""#, ""))
            .collect();
        assert_snapshot!(written.join("\n"), @r#"
{"event":"opened","at":"1970-01-01T00:16:40.000Z","type":"approval","binding":"code","rp_id":"bank.example","tx_sha256":"10-8dnfqsiF5hmAfmeU2YWaA91UbXRnmw6Rl58wBioE","deadline":"1970-01-01T00:18:40.000Z"}
{"event":"sent","at":"1970-01-01T00:16:41.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ"}
{"event":"woken","at":"1970-01-01T00:16:42.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ"}
{"event":"delivered","at":"1970-01-01T00:16:43.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ"}
{"event":"wrong_code","at":"1970-01-01T00:16:45.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ","nth":1}
{"event":"claimed","at":"1970-01-01T00:16:46.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ"}
{"event":"challenged","at":"1970-01-01T00:16:47.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ","attempt":"att_AwMDAwMDAwMDAwMDAwMDAw"}
{"event":"card","at":"1970-01-01T00:16:48.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ","card_code":600}
{"event":"answered","at":"1970-01-01T00:16:49.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ","attempt":"att_AwMDAwMDAwMDAwMDAwMDAw","answer_sha256":"IyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyM","completed_by":"nod_BwcHBwcHBwcHBwcHBwcHBw"}
{"event":"silenced","ceremony_id":"cer_BQUFBQUFBQUFBQUFBQUFBQ","client_id":"cli_BgYGBgYGBgYGBgYGBgYGBg","username":"ada","why":"hour","tenant":"default","at":"1970-01-01T00:16:50.000Z"}
{"event":"closed","at":"1970-01-01T00:16:52.000Z","device":"dev_AgICAgICAgICAgICAgICAg","type":"approval","outcome":"denied","reason":"not_me"}
{"event":"not_me","ceremony_id":"cer_BQUFBQUFBQUFBQUFBQUFBQ","client_id":"cli_BgYGBgYGBgYGBgYGBgYGBg","device_id":"dev_AgICAgICAgICAgICAgICAg","username":"ada","tenant":"default","at":"1970-01-01T00:16:52.000Z"}
"#);
    }
}
