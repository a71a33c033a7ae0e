//! The audit log's entries as a function of the facts: what one fact of a ceremony writes.
//!
//! It needs neither the event nor a memory of what was written, and gives the same body whenever it
//! is asked. [`Trail`] is the log's present way, which compares the record with what it has; tests
//! hold the two against each other.

use fido_relay_proto::Reason;

use super::facts::{self, Entry, More, Steps, Writing, answered, closed, opened};
use crate::ceremony::{Ceremony, Event, Fact, Kind};
use crate::ports::{Happening, SecurityEvent};

/// The entries of one fact, in their order. `ceremony` has the fact in its history.
#[must_use]
pub fn bodies(ceremony: &Ceremony, fact: &Fact, writing: &Writing) -> Vec<String> {
    let request = &ceremony.request;
    let (event, more) = match fact.kind {
        Kind::Opened => ("opened", opened(request)),
        Kind::Sent => ("sent", More::Nothing {}),
        Kind::Delivered => ("delivered", More::Nothing {}),
        Kind::WrongCode { nth } => ("wrong_code", More::WrongCode { nth }),
        Kind::Claimed => ("claimed", More::Nothing {}),
        Kind::Challenged { attempt } => {
            ("challenged", attempt.map_or(More::Nothing {}, |attempt| More::Challenged { attempt }))
        }
        Kind::Card { code, .. } => {
            ("card", code.map_or(More::Nothing {}, |card_code| More::Card { card_code }))
        }
        Kind::Answered { attempt, digest, by } => ("answered", answered(attempt, digest, by)),
        Kind::Suppressed { .. } => return beside(ceremony, fact).into_iter().collect(),
        Kind::Closed { outcome, reason } => ("closed", closed(ceremony, outcome, reason, writing)),
    };
    let mut entry = Entry::new(event, request, fact.at);
    (entry.device, entry.more) = (fact.device, more);
    entry.body().into_iter().chain(beside(ceremony, fact)).collect()
}

/// What a fact tells beside the trail of its ceremony: an alarm, or that no device was asked.
fn beside(ceremony: &Ceremony, fact: &Fact) -> Option<String> {
    let request = &ceremony.request;
    let (ceremony_id, client_id) = (request.id, request.client_id);
    let username = request.username.clone();
    let what = match fact.kind {
        Kind::Closed { reason: Some(Reason::NotMe), .. } => {
            Happening::NotMe { ceremony_id, client_id, device_id: fact.device?, username }
        }
        Kind::Suppressed { why } => {
            Happening::Silenced { ceremony_id, client_id, username, why: why? }
        }
        Kind::Opened
        | Kind::Sent
        | Kind::Delivered
        | Kind::WrongCode { .. }
        | Kind::Claimed
        | Kind::Challenged { .. }
        | Kind::Card { .. }
        | Kind::Answered { .. }
        | Kind::Closed { .. } => return None,
    };
    Some(SecurityEvent::new(request.tenant.clone(), fact.at, what).entry())
}

/// What the log says of one ceremony by comparing its record with what was said before.
#[derive(Debug, Default)]
pub struct Trail {
    written: Steps,
    bodies: Vec<String>,
}

impl Trail {
    /// The record is stored like this, by `cause` if that is known.
    pub fn see(
        &mut self,
        ceremony: &Ceremony,
        cause: Option<&Event>,
        recovered: bool,
        writing: &Writing,
    ) {
        let (new, written) = facts::missing(ceremony, cause, self.written, recovered, writing);
        self.bodies.extend(new);
        self.written = written;
    }

    /// Every entry so far.
    #[must_use]
    pub fn bodies(&self) -> &[String] {
        &self.bodies
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::backends::embedded::MemoryStore;
    use crate::ceremony::with_every_kind;
    use crate::security::keys::Keys;
    use crate::security::record::RecordSigner;
    use crate::security::seal::Sealer;

    #[tokio::test]
    async fn every_kind_of_fact_has_its_entry() {
        let sealer = Sealer::new(&[7; 32]).unwrap();
        let keys = Keys::load_or_make(&MemoryStore::new(), &sealer).await.unwrap();
        let signer = RecordSigner::new(&keys, "https://relay.example.com").unwrap();
        let writing = Writing { signer, receipts: false };
        let ceremony = with_every_kind();
        let written: Vec<_> = ceremony
            .history
            .iter()
            .flat_map(|fact| bodies(&ceremony, fact, &writing))
            .map(|body| body.replace(r#","tenant":"default","ceremony":"cer_BQUFBQUFBQUFBQUFBQUFBQ","client":"cli_BgYGBgYGBgYGBgYGBgYGBg","user":"ada""#, ""))
            .collect();
        assert_snapshot!(written.join("\n"), @r#"
{"event":"opened","at":"1970-01-01T00:16:40.000Z","type":"approval","binding":"code","rp_id":"bank.example","tx_sha256":"10-8dnfqsiF5hmAfmeU2YWaA91UbXRnmw6Rl58wBioE","deadline":"1970-01-01T00:18:40.000Z"}
{"event":"sent","at":"1970-01-01T00:16:41.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ"}
{"event":"delivered","at":"1970-01-01T00:16:42.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ"}
{"event":"wrong_code","at":"1970-01-01T00:16:43.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ","nth":1}
{"event":"claimed","at":"1970-01-01T00:16:44.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ"}
{"event":"challenged","at":"1970-01-01T00:16:45.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ","attempt":"att_AwMDAwMDAwMDAwMDAwMDAw"}
{"event":"card","at":"1970-01-01T00:16:46.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ","card_code":600}
{"event":"answered","at":"1970-01-01T00:16:47.000Z","device":"dev_AQEBAQEBAQEBAQEBAQEBAQ","attempt":"att_AwMDAwMDAwMDAwMDAwMDAw","answer_sha256":"IyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyM","completed_by":"nod_BwcHBwcHBwcHBwcHBwcHBw"}
{"tenant":"default","at":"1970-01-01T00:16:48.000Z","event":"silenced","ceremony_id":"cer_BQUFBQUFBQUFBQUFBQUFBQ","client_id":"cli_BgYGBgYGBgYGBgYGBgYGBg","username":"ada","why":"hour"}
{"event":"closed","at":"1970-01-01T00:16:50.000Z","device":"dev_AgICAgICAgICAgICAgICAg","outcome":"denied","reason":"not_me"}
{"tenant":"default","at":"1970-01-01T00:16:50.000Z","event":"not_me","ceremony_id":"cer_BQUFBQUFBQUFBQUFBQUFBQ","client_id":"cli_BgYGBgYGBgYGBgYGBgYGBg","device_id":"dev_AgICAgICAgICAgICAgICAg","username":"ada"}
"#);
    }
}
