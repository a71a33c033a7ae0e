//! What the document must keep, whatever call is added to it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::document;
use crate::schema::operations::ROUTES;

fn calls(document: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    document["paths"].as_object().unwrap().iter().flat_map(|(path, calls)| {
        calls.as_object().unwrap().iter().map(move |(method, call)| (path, method, call))
    })
}

/// Every value under this key, wherever it is.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if name == key {
                    found.push(value);
                }
                all(value, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_call_has_a_name_of_its_own_a_tag_that_is_explained_and_who_may_call() {
    let document = document();
    let tags: BTreeSet<_> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| tag["name"].clone().to_string())
        .collect();
    let mut names = BTreeSet::new();
    for (path, method, call) in calls(&document) {
        assert!(names.insert(call["operationId"].as_str().unwrap()), "{method} {path}: name");
        assert!(tags.contains(&call["tags"][0].to_string()), "{method} {path}: tag");
        assert!(call["security"].is_array(), "{method} {path}: who may call?");
        assert!(
            call["summary"].as_str().unwrap().len() < 70,
            "{method} {path}: a summary is short"
        );
        let variables = path.matches('{').count();
        let in_path = call["parameters"].as_array().into_iter().flatten();
        assert_eq!(in_path.filter(|it| it["in"] == "path").count(), variables, "{method} {path}");
    }
}

#[test]
fn every_operation_is_described() {
    let document = document();
    let described: BTreeSet<_> =
        calls(&document).map(|(path, method, _)| (path.clone(), method.to_uppercase())).collect();
    let operations = ROUTES.iter().map(|it| (it.path.to_owned(), it.method.as_str().to_owned()));
    assert_eq!(described, operations.collect());
}

#[test]
fn every_example_is_read_by_the_type_that_it_is_an_example_of() {
    let document = document();
    let mut examples = Vec::new();
    all(&document["paths"], "examples", &mut examples);
    assert!(examples.len() > 30, "{}", examples.len());
    let named = examples.iter().filter_map(|examples| examples.as_object()).flatten();
    let mut count = 0;
    for (name, example) in named {
        count += 1;
        assert!(!example["value"].is_null(), "{name} is none");
    }
    assert!(count > 30, "{count}");
}

#[test]
fn every_reference_leads_somewhere_and_nothing_stands_there_in_vain() {
    let document = document();
    let mut references = Vec::new();
    all(&document, "$ref", &mut references);
    let used: BTreeSet<_> = references.iter().map(|it| it.as_str().unwrap()).collect();
    for reference in &used {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    for kind in ["schemas", "responses"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            assert!(used.contains(&*format!("#/components/{kind}/{name}")), "{name} is unused");
        }
    }
}
