//! That the page shows what is in the documents, and nothing in a document becomes a tag.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::page;
use crate::schema::portable::{MEANINGS, OPEN};
use crate::schema::{asyncapi, openapi};

/// What nobody should ever see run.
const HOSTILE: &str = "`\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;b\n\n| <i> |";

/// The same document where every text and every name of a field and a path says this too.
fn hostile(value: &Value, named: bool) -> Value {
    match value {
        Value::String(text) => Value::String(format!("{text}{HOSTILE}")),
        Value::Array(items) => items.iter().map(|item| hostile(item, false)).collect(),
        Value::Object(map) => {
            let each = map.iter().map(|(key, value)| {
                let names = matches!(
                    &**key,
                    "properties"
                        | "paths"
                        | "content"
                        | "responses"
                        | "examples"
                        | "securitySchemes"
                );
                let is_known = matches!(&**key, "$ref" | "type" | "action" | "in")
                    || (key == "name" && map.len() <= 2)
                    || key == "required"
                    || (key == "tags" && value[0].is_string());
                let value = if is_known { value.clone() } else { hostile(value, names) };
                (if named { format!("{key}{HOSTILE}") } else { key.clone() }, value)
            });
            Value::Object(each.collect::<Map<_, _>>())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// How often each tag opens.
fn tags(page: &str) -> BTreeMap<&str, usize> {
    let mut tags = BTreeMap::new();
    for opened in page.split('<').skip(1) {
        let end = opened.find([' ', '>']).unwrap();
        *tags.entry(&opened[..end]).or_default() += 1;
    }
    tags
}

#[test]
fn whatever_a_document_says_it_is_text_on_the_page() {
    let (calls, channels) = (openapi::document(), asyncapi::document());
    let plain = page(&calls, &channels);
    let hostile = page(&hostile(&calls, false), &hostile(&channels, false));
    assert!(hostile.contains("&lt;script&gt;"), "it did get to the page");
    let (known, found) = (tags(&plain), tags(&hostile));
    for tag in found.keys() {
        assert!(known.contains_key(tag), "{tag} came from a document");
    }
    assert_eq!(known.get("article"), found.get("article"), "and the page is otherwise the same");
    assert_eq!(known.get("script"), Some(&1), "the page's own");
    assert_eq!(known.get("script"), found.get("script"), "and no other");
    for tag in ["img", "i", "b", "iframe", "object"] {
        assert!(!known.contains_key(tag), "{tag}");
    }
}

#[test]
fn every_link_within_the_page_leads_somewhere_and_every_anchor_is_one() {
    let page = page(&openapi::document(), &asyncapi::document());
    let values = |before: &str| -> Vec<&str> {
        page.split(before).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
    };
    let anchors = values(" id=\"");
    let unique: BTreeSet<_> = anchors.iter().collect();
    assert_eq!(unique.len(), anchors.len(), "an anchor stands twice: {anchors:?}");
    let links = values(" href=\"#");
    assert!(links.len() > 30, "{links:?}");
    for link in links {
        assert!(unique.contains(&link), "#{link} leads nowhere");
    }
}

#[test]
fn every_call_channel_and_message_is_on_the_page() {
    let (calls, channels) = (openapi::document(), asyncapi::document());
    let page = page(&calls, &channels);
    for (path, item) in calls["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let id = super::html::anchor(&["call", method, path]);
            assert!(page.contains(&format!("id=\"{id}\"")), "{method} {path} is missing");
        }
    }
    for (name, channel) in channels["channels"].as_object().unwrap() {
        for message in channel["messages"].as_object().unwrap().keys() {
            let id = super::html::anchor(&["message", name, message]);
            assert!(page.contains(&format!("id=\"{id}\"")), "{name} {message} is missing");
        }
    }
}

#[test]
fn every_question_is_answered_on_the_page_and_every_error_has_a_place() {
    let calls = openapi::document();
    let page = page(&calls, &asyncapi::document());
    for (question, words) in super::QUESTIONS {
        let link = format!("<a href=\"#{}\">", super::html::anchor(words));
        assert!(page.contains(&link), "{question}");
    }
    let codes = calls["components"]["schemas"]["ProblemCode"][OPEN].as_array().unwrap();
    for code in codes {
        let id = super::html::anchor(&["error", code.as_str().unwrap()]);
        assert!(page.contains(&format!("<tr id=\"{id}\">")), "{code}");
    }
    assert!(page.len() < 304 * 1024, "{} bytes", page.len());
}

#[test]
fn a_call_is_shown_with_all_that_a_caller_needs() {
    let calls = serde_json::json!({
        "tags": [{ "name": "things" }],
        "paths": { "/things/{id}": { "post": {
            "tags": ["things"],
            "summary": "Changes a thing",
            "security": [{ "apiKey": ["thing:change"] }],
            "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }],
            "requestBody": { "content": { "application/json": {
                "schema": { "$ref": "#/components/schemas/Thing" },
                "examples": { "one": { "value": { "name": "it's" } } },
            } } },
            "responses": { "409": {
                "description": "Taken",
                "content": { "application/problem+json": { "examples": { "name_taken": {} } } },
            } },
        } } },
        "components": {
            "schemas": { "Thing": { "type": "object", "required": ["name"], "properties": {
                "name": { "type": "string", "minLength": 1, "maxLength": 9, "description": "Its *name*" },
                "parts": { "type": ["array", "null"], "items": { "type": "object", "properties": {
                    "kind": { "type": "string", "enum": ["big", "small"], MEANINGS: ["Large", null] },
                } } },
            } } },
            "securitySchemes": { "apiKey": { "type": "http" } },
        },
    });
    let page = page(&calls, &serde_json::json!({}));
    for part in [
        "<span class=\"method post\">POST</span> <code class=\"path\">/things/{id}</code>",
        "<a href=\"#access-apikey\">apiKey</a> · a client with the scope <code>thing:change</code>",
        "<code>name</code> <span class=\"kind\">string</span></th>",
        "1 to 9 characters",
        "<code>parts[].kind</code> <span class=\"kind\">string</span> <span class=\"may\">optional",
        "<li><code>big</code> Large</li><li><code>small</code></li>",
        "<code>409</code> <a href=\"#error-name-taken\"><code>name_taken</code></a>",
        "-X POST &quot;$RELAY/things/$ID&quot; \\\n  -H &quot;Authorization: Bearer $KEY&quot;",
        "-d &#39;{&quot;name&quot;:&quot;it&#39;\\&#39;&#39;s&quot;}&#39;",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
}
