//! Names of the wire, each in the document that its readers have.
//!
//! Enums without a list of their own are listed here beside a match that stops compiling when one
//! is added: then the list and the document grow.

use fido_relay::session::CloseReason;
use fido_relay_proto::device::FrameErrorCode;
use fido_relay_proto::http::Scope;
use fido_relay_proto::{Outcome, Phase, ProblemCode, Reason, Step};
use serde::Serialize;

use super::read;

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
    let codes = every!(FrameErrorCode: InvalidFrame, UnknownType, UnknownCeremony, WrongCode,
        OtherCeremony, TooManyCodes, ClaimedElsewhere, NotChallenged, AlreadyAnswered, AlreadyClosed, SlowDown, Unavailable);
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

#[test]
fn every_outcome_and_reason_stands_in_both_documents() {
    let outcomes = every!(Outcome: Succeeded, Denied, Rejected, Failed, Expired, Cancelled,
        Indeterminate);
    let reasons = reasons();
    for document in [PROTOCOL, INITIATORS] {
        all_stand_in(document, outcomes.iter().map(code_of));
        all_stand_in(document, reasons.iter().map(|reason| reason.replace("_609", "_NNN")));
    }
}

fn reasons() -> Vec<String> {
    fn listed(reason: Reason) {
        match reason {
            Reason::Declined | Reason::NotMe | Reason::WrongCode | Reason::Deadline => {}
            Reason::SessionExpired | Reason::PinFailed | Reason::NoCredential => {}
            Reason::CardFull | Reason::Card(_) | Reason::UpstreamRejected => {}
            Reason::UpstreamUnavailable | Reason::UpstreamFull | Reason::UpstreamUnknown => {}
            Reason::Interrupted => {}
        }
    }
    let codes = "declined not_me wrong_code deadline session_expired pin_failed no_credential \
        card_full card_609 upstream_rejected upstream_unavailable upstream_full upstream_unknown \
        interrupted";
    let codes: Vec<_> = codes.split_whitespace().map(str::to_owned).collect();
    for code in &codes {
        listed(code.parse().unwrap());
    }
    codes
}

#[test]
fn a_web_team_reads_of_every_step_phase_scope_and_problem() {
    let steps = every!(Step: Opened, Sent, Delivered, Claimed, Challenged, Card, Verifying, Closed);
    all_stand_in(INITIATORS, steps.into_iter().map(code_of));
    let phases = every!(Phase: Offered, Preparing, Challenged, Verifying, Closed);
    all_stand_in(INITIATORS, phases.into_iter().map(code_of));
    all_stand_in(INITIATORS, Scope::ALL.iter().map(|scope| scope.as_str().to_owned()));
    let problems = every!(ProblemCode: InvalidRequest, Unauthorized, ProofRefused, ScopeMissing,
        BindingNotAllowed, OriginNotAllowed, NotFound, MethodNotAllowed, AlreadyClosed, Gone,
        TooLarge, UnsupportedMediaType, IdempotencyMismatch, Unprocessable, UpgradeRequired,
        TooManyRequests, Internal, Unavailable);
    all_stand_in(INITIATORS, problems.into_iter().map(code_of));
}
