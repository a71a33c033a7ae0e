//! What the log must say of a ceremony: the entries of every fact of its record, once, in order.

use std::path::Path;

use fido_relay::core::ceremony::Ceremony;
use serde_json::Value;

use super::lines;

/// The events of a ceremony that the log has, in its order.
pub(crate) fn events(directory: &Path, ceremony: &str) -> Vec<String> {
    let entries = lines(directory).into_iter().map(|line| serde_json::from_str(&line).unwrap());
    entries
        .filter(|entry: &Value| entry["ceremony"] == ceremony)
        .map(|entry| entry["event"].as_str().unwrap().to_owned())
        .collect()
}

/// Asserts that the log says of this ceremony what its facts make, once and in order.
#[track_caller]
pub(crate) fn assert_complete(directory: &Path, ceremony: &Ceremony) {
    let id = ceremony.request.id.to_string();
    let written = lines(directory).into_iter().map(|line| {
        let mut entry: Value = serde_json::from_str(&line).unwrap();
        for member in ["seq", "time", "chain", "prev", "position"] {
            entry.as_object_mut().unwrap().remove(member);
        }
        entry
    });
    let is: Vec<_> = written.filter(|entry| entry["ceremony"] == id.as_str()).collect();
    let journal = crate::support::journal();
    let entries = ceremony.history.iter().flat_map(|fact| journal.entries(ceremony, fact));
    let should = entries.map(|entry| serde_json::from_str::<Value>(&entry).unwrap());
    let should: Vec<_> = should.filter(|entry| entry.get("ceremony").is_some()).collect();
    assert_eq!(is, should, "{id}");
}
