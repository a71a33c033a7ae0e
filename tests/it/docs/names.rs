//! Names of the wire, each in the document that its readers have.
//!
//! Enums without a list of their own are listed here beside a match that stops compiling when one
//! is added: then the list and the document grow.

use std::collections::BTreeSet;

use fido_relay::core::session::CloseReason;
use fido_relay_proto::device::FrameErrorCode;
use fido_relay_proto::http::Scope;
use fido_relay_proto::{Outcome, Phase, ProblemCode, Reason, Step};
use serde::Serialize;

use super::{documents, read};

const PROTOCOL: &str = "docs/protocol.md";
const INITIATORS: &str = "docs/initiators.md";

fn code_of(value: impl Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

/// Each must stand in the document as code.
#[track_caller]
fn all_stand_in(document: &str, names: impl IntoIterator<Item = String>) {
    let text = read(document);
    let missing: Vec<_> =
        names.into_iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{document} says nothing of {missing:?}");
}

/// A list of every variant, and a match that holds the list to it.
macro_rules! every {
    ($enum:ident: $($variant:ident),+ $(,)?) => {{
        fn listed(value: $enum) {
            match value { $($enum::$variant => {})+ }
        }
        let all = vec![$($enum::$variant),+];
        all.iter().copied().for_each(listed);
        all
    }};
}

#[test]
fn a_mobile_team_reads_of_every_frame_error() {
    let codes = every!(FrameErrorCode: InvalidFrame, UnknownType, UnknownCeremony, CodeMalformed, WrongCode,
        OtherDevice, CodeAmbiguous, TooManyCodes, DeviceLocked, ClaimedElsewhere, NotChallenged, AlreadyAnswered, AlreadyClosed, SlowDown, Unavailable);
    all_stand_in(PROTOCOL, codes.into_iter().map(code_of));
}

#[test]
fn a_mobile_team_reads_of_every_close_code() {
    let text = read(PROTOCOL);
    let (_, section) = text.split_once("\n## 13. Close codes").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    for code in CloseReason::ALL.into_iter().filter_map(CloseReason::code) {
        assert!(section.contains(&format!("\n| {code} |")), "{code} is missing");
    }
}

/// The pairs of outcome and reason in the table of a document that begins with these columns. A
/// row without an outcome is one more reason of the outcome above it.
fn outcome_table(document: &str, columns: &str) -> BTreeSet<(String, Option<String>)> {
    let text = read(document);
    let (_, table) = text.split_once(columns).unwrap();
    let mut outcome = String::new();
    let mut pairs = BTreeSet::new();
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.split('|').collect();
        let codes = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let (named, reasons): (Vec<String>, Vec<String>) = (codes(cells[1]), codes(cells[2]));
        if let [one] = &named[..] {
            outcome.clone_from(one);
        }
        // `card_609` may follow as an example of `card_NNN`.
        let reasons = reasons.into_iter().filter(|reason| *reason != "card_609");
        let before = pairs.len();
        pairs.extend(reasons.map(|reason| (outcome.clone(), Some(reason))));
        if pairs.len() == before {
            pairs.insert((outcome.clone(), None));
        }
    }
    pairs
}

#[test]
fn both_documents_have_a_table_of_exactly_the_outcomes_and_reasons_that_there_are() {
    let outcomes = every!(Outcome: Succeeded, Denied, Rejected, Failed, Expired, Cancelled,
        Indeterminate);
    let mut pairs = BTreeSet::new();
    for outcome in outcomes {
        let reasons = reasons().into_iter().map(Some).chain([None]);
        for reason in reasons.filter(|reason| outcome.allows(*reason)) {
            let reason = reason.map(|reason| reason.code().replace("_609", "_NNN"));
            pairs.insert((code_of(outcome), reason));
        }
    }
    assert_eq!(outcome_table(INITIATORS, "| `status` | `reason` | the page says |"), pairs);
    assert_eq!(outcome_table(PROTOCOL, "| `outcome` | `reason` | what to say |"), pairs);
}

/// Every reason, one of the cards' numbers among them.
fn reasons() -> Vec<Reason> {
    let codes = "declined not_me wrong_code deadline session_expired pin_failed pin_not_set \
        already_registered clone_suspected no_credential card_full card_limit card_609 upstream_rejected upstream_unavailable upstream_full upstream_unknown \
        interrupted";
    let reasons: Vec<Reason> = codes.split_whitespace().map(|code| code.parse().unwrap()).collect();
    // A new reason does not compile here until the list has it.
    for reason in &reasons {
        match reason {
            Reason::Declined | Reason::NotMe | Reason::WrongCode | Reason::Deadline => {}
            Reason::SessionExpired | Reason::PinFailed | Reason::NoCredential => {}
            Reason::PinNotSet | Reason::AlreadyRegistered | Reason::CloneSuspected => {}
            Reason::CardFull | Reason::CardLimit | Reason::Card(_) | Reason::UpstreamRejected => {}
            Reason::UpstreamUnavailable | Reason::UpstreamFull | Reason::UpstreamUnknown => {}
            Reason::Interrupted => {}
        }
    }
    reasons
}

#[test]
fn a_web_team_reads_of_every_step_phase_scope_and_problem() {
    let steps =
        every!(Step: Opened, Sent, Woken, Delivered, Claimed, Challenged, Card, Verifying, Closed);
    all_stand_in(INITIATORS, steps.into_iter().map(code_of));
    let phases = every!(Phase: Offered, Preparing, Challenged, Verifying, Closed);
    all_stand_in(INITIATORS, phases.into_iter().map(code_of));
    all_stand_in(INITIATORS, Scope::ALL.iter().map(|scope| scope.as_str().to_owned()));
    let problems = every!(ProblemCode: InvalidRequest, Unauthorized, ProofRefused, ScopeMissing,
        BindingNotAllowed, PriorAuthRequired, OriginNotAllowed, HostNotAllowed, NotFound, MethodNotAllowed, AlreadyClosed, Gone,
        TooLarge, UnsupportedMediaType, IdempotencyMismatch, Unprocessable, UpgradeRequired,
        TooManyRequests, Internal, NotSupported, Unavailable);
    all_stand_in(INITIATORS, problems.into_iter().map(code_of));
}

#[test]
fn every_configuration_key_that_a_document_names_exists() {
    // A field of the `welcome` frame.
    const NO_KEY: &str = "limits.burst";
    let loaded = fido_relay::config::from_texts(None, &[]).unwrap();
    let keys: BTreeSet<_> = loaded.settings.iter().map(|setting| setting.key).collect();
    let sections: BTreeSet<_> =
        keys.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect();
    let mut named = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for code in text.split('`').skip(1).step_by(2) {
            let is_part =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c);
            let name = &code[..code.find(|c| !is_part(c)).unwrap_or(code.len())];
            let Some((section, key)) = name.split_once('.') else { continue };
            // Files have such names, too, and a section alone ends with its dot.
            let is_key = sections.contains(section) && !["", "py", "rs", "sock"].contains(&key);
            if is_key && name != NO_KEY && !name.ends_with('_') {
                assert!(keys.contains(name), "{}: there is no key {name}", document.display());
                named += 1;
            }
        }
    }
    assert!(named > 150, "{named}");
}
