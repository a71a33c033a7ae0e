//! What must stand in the log of a ceremony: every step of its record, once, in its order.

use std::path::Path;

use fido_relay::ceremony::Ceremony;
use fido_relay_proto::Step;
use serde_json::Value;

use super::lines;
use crate::facts::Written;

/// The events of a ceremony that the log has, in its order.
pub(crate) fn events(directory: &Path, ceremony: &str) -> Vec<String> {
    let entries = lines(directory).into_iter().map(|line| serde_json::from_str(&line).unwrap());
    entries
        .filter(|entry: &Value| entry["ceremony"] == ceremony)
        .map(|entry| entry["event"].as_str().unwrap().to_owned())
        .collect()
}

/// The entries of a ceremony as they were written, without what makes them lines of a chain. Which
/// of them were written late the log does not tell.
pub(crate) fn written(directory: &Path, ceremony: &str) -> Vec<Written> {
    let entries = lines(directory).into_iter().map(|line| serde_json::from_str(&line).unwrap());
    entries
        .filter(|entry: &Value| entry["ceremony"] == ceremony)
        .map(|mut entry| {
            for member in ["seq", "time", "chain", "prev"] {
                entry.as_object_mut().unwrap().remove(member);
            }
            Written { entry, late: true }
        })
        .collect()
}

/// The events that a record asks for; wrong codes are another matter.
pub(crate) fn expected(ceremony: &Ceremony) -> Vec<String> {
    let name = |step| match step {
        Step::Opened => "opened",
        Step::Sent => "sent",
        Step::Delivered => "delivered",
        Step::Claimed => "claimed",
        Step::Challenged => "challenged",
        Step::Card => "card",
        Step::Verifying => "answered",
        Step::Closed => "closed",
    };
    ceremony.progress().map(|entry| name(entry.step).to_owned()).collect()
}

/// Asserts that the log's trail of this ceremony is complete and in order.
#[track_caller]
pub(crate) fn assert_complete(directory: &Path, ceremony: &Ceremony) {
    let mut events = events(directory, &ceremony.request.id.to_string());
    events.retain(|event| event != "wrong_code");
    assert_eq!(events, expected(ceremony), "{}", ceremony.request.id);
}
