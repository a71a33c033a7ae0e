//! The alert rules and the dashboard of `packaging` against what a relay really serves: a query for
//! a metric, label or value that does not exist is silent for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::support::metric_samples::MetricSamples;

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["job", "instance"];

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Every text within a JSON document.
fn texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|value| texts(value, into)),
        Value::Object(all) => all.values().for_each(|value| texts(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// One use of a metric in a query: its name, and its matchers as label and value.
type Used = (String, Vec<(String, String)>);

/// The uses of the relay's and the process's metrics in a text.
fn uses(text: &str) -> Vec<Used> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let word = &rest[start..];
        let name = &word[..word.find(|c| !is_part(c)).unwrap_or(word.len())];
        rest = &word[name.len()..];
        if !name.starts_with("fido_relay_") && !name.starts_with("process_") {
            continue;
        }
        let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let matchers = matchers.map_or("", |(matchers, _)| matchers).split(", ");
        let matcher = |text: &str| {
            let (label, value) = text.split_at(text.find(['=', '!']).unwrap());
            let value = value.trim_start_matches(['=', '!', '~']).trim_matches('"');
            (label.to_owned(), value.to_owned())
        };
        let matchers = matchers.filter(|text| !text.is_empty()).map(matcher).collect();
        found.push((name.to_owned(), matchers));
    }
    found
}

/// The labels by which a text groups or names series.
fn groupings(text: &str) -> Vec<String> {
    let by = text.split("by (").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let shown = text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0));
    let labels = by.chain(shown).flat_map(|labels| labels.split(", "));
    labels.map(|label| label.trim().trim_start_matches("$labels.").to_owned()).collect()
}

/// Whether a name is code in a document whose names are held by other tests.
fn is_named(name: &str) -> bool {
    ["docs/operations.md", "docs/initiators.md"]
        .iter()
        .any(|document| read(document).contains(&format!("`{name}`")))
}

#[tokio::test]
async fn alerts_and_dashboard_ask_for_what_a_relay_serves() {
    let figures = MetricSamples::read(&super::documented::eventful().await);
    let mut served: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut values = BTreeSet::new();
    for sample in &figures.0 {
        let labels = served.entry(&sample.name).or_default();
        labels.extend(sample.labels.keys().map(String::as_str));
        values.extend(sample.labels.values().map(String::as_str));
    }
    let labels: BTreeSet<_> = served.values().flatten().copied().chain(ADDED).collect();

    let mut dashboard = Vec::new();
    texts(
        &serde_json::from_str(&read("packaging/grafana-dashboard.json")).unwrap(),
        &mut dashboard,
    );
    let alerts = vec![read("packaging/prometheus-alerts.yml")];
    for (file, texts, least) in [("alerts", alerts, 18), ("dashboard", dashboard, 30)] {
        let used: Vec<_> = texts.iter().flat_map(|text| uses(text)).collect();
        assert!(used.len() >= least, "{file}: {used:?}");
        for (name, matchers) in used {
            let Some(own) = served.get(name.as_str()) else { panic!("{file}: no metric {name}") };
            for (label, value) in matchers {
                if ADDED.contains(&label.as_str()) {
                    continue;
                }
                assert!(own.contains(label.as_str()), "{file}: {name} has no label {label}");
                let unknown = |value: &&str| !values.contains(value) && !is_named(value);
                let unknown: Vec<_> = value.split('|').filter(unknown).collect();
                assert!(unknown.is_empty(), "{file}: {name} has no {label} {unknown:?}");
            }
        }
        for label in texts.iter().flat_map(|text| groupings(text)) {
            assert!(labels.contains(label.as_str()), "{file}: no label {label}");
        }
    }
}
