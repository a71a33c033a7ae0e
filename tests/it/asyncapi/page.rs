//! `/docs` in a real browser: it shows the whole of both documents, for every screen and reader, and
//! asks no other host for anything; nothing in a document becomes markup.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::demo::browser::{Browser, DARK, LIGHT, NARROW, NARROW_DARK};
use crate::support::needs;
use crate::support::relay::{TestRelay, http};

/// The most that the page may weigh, since it is one file that is read and kept by hand.
const SIZE: usize = 24 * 1024;

/// What axe-core finds, as `rule: element` each: all its rules but contrast, which looks at every
/// pixel's owner and is asked of a small page.
const AUDIT: &str = "
    return axe.run(document, {
        resultTypes: ['violations'],
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
        rules: { 'color-contrast': { enabled: false } },
    }).then((found) => found.violations.flatMap((rule) =>
        rule.nodes.map((node) => `${rule.id}: ${node.target}`)));";
const CONTRAST: &str = "
    return axe.run(document, { resultTypes: ['violations'], runOnly: ['color-contrast'] })
        .then((found) => found.violations.flatMap((rule) =>
            rule.nodes.map((node) => `${rule.id}: ${node.target}`)));";
/// Where everything on the page came from.
const FETCHED: &str = "
    return performance.getEntriesByType('resource').map((entry) => entry.name)
        .filter((name) => !name.startsWith('data:')).sort();";
/// Links within the page that lead nowhere.
const LOST: &str = "
    return [...document.querySelectorAll('a[href^=\"#\"]')].map((link) => link.hash.slice(1))
        .filter((name) => !document.getElementById(name));";
/// The text of each place that has an anchor, one after another.
const PLACES: &str = "
    return [...document.querySelectorAll('[id]')].map((place) => [place.id, place.textContent]);";
/// The anchors of what a search leaves.
const LEFT: &str = "
    return [...document.querySelectorAll('article, .message[id], tr[id]')]
        .filter((place) => place.checkVisibility()).map((place) => place.id);";
/// How often the page has each tag.
const TAGS: &str = "
    const tags = {};
    for (const { localName } of document.querySelectorAll('*')) tags[localName] = (tags[localName] ?? 0) + 1;
    return tags;";

/// What must never run.
const HOSTILE: &str = "`\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;b\n\n| <i> |";

/// The anchor of these words, by which others link to the page.
fn anchor(words: &[&str]) -> String {
    let words = words.join(" ").to_ascii_lowercase();
    let parts = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-")
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// What this refers to, or itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"].as_str().map(|target| document.pointer(&target[1..]).unwrap());
    target.map_or(value, |target| resolved(document, target))
}

/// The names of a schema's fields.
fn fields_of<'a>(document: &'a Value, schema: &'a Value) -> Vec<&'a str> {
    members(&resolved(document, schema)["properties"]).map(|(name, _)| &**name).collect()
}

/// What must be readable at a call's anchor.
fn parts_of_call<'a>(document: &'a Value, path: &'a str, said: &'a Value) -> Vec<&'a str> {
    let text = |value: &'a Value| value.as_str().unwrap();
    let mut parts = vec![path];
    for (credential, scopes) in said["security"].as_array().unwrap().iter().flat_map(members) {
        parts.push(credential);
        parts.extend(scopes.as_array().unwrap().iter().map(text));
    }
    let parameters = said["parameters"].as_array().into_iter().flatten();
    parts.extend(parameters.map(|one| text(&resolved(document, one)["name"])));
    let body = members(&said["requestBody"]["content"]);
    parts.extend(body.flat_map(|(_, content)| fields_of(document, &content["schema"])));
    for (status, answer) in members(&said["responses"]) {
        parts.push(status);
        for (media_type, content) in members(&resolved(document, answer)["content"]) {
            match media_type.as_str() {
                "application/problem+json" => {
                    parts.extend(members(&content["examples"]).map(|(code, _)| &**code));
                }
                _ => parts.extend(fields_of(document, &content["schema"])),
            }
        }
    }
    parts
}

/// Every call, message and error of the documents is at its anchor, with what it consists of.
fn holds_all(places: &Value, openapi: &Value, asyncapi: &Value) {
    let places: Vec<(String, String)> = serde_json::from_value(places.clone()).unwrap();
    let texts: BTreeMap<_, _> = places.iter().cloned().collect();
    assert_eq!(texts.len(), places.len(), "an anchor is there twice");
    let holds = |words: &[&str], parts: &[&str]| {
        let text = texts.get(&anchor(words)).unwrap_or_else(|| panic!("{words:?} is missing"));
        let missing: Vec<_> = parts.iter().filter(|part| !text.contains(**part)).collect();
        assert!(missing.is_empty(), "{words:?} lacks {missing:?}");
    };
    for (path, calls) in members(&openapi["paths"]) {
        for (method, said) in members(calls) {
            holds(&["call", method, path], &parts_of_call(openapi, path, said));
        }
    }
    for (channel, said) in members(&asyncapi["channels"]) {
        for (name, message) in members(&said["messages"]) {
            let message = resolved(asyncapi, message);
            let mut parts = fields_of(asyncapi, &message["payload"]);
            parts.extend(fields_of(asyncapi, &message["headers"]));
            parts.push(name);
            assert!(parts.len() > 1, "{channel} {name} has fields");
            holds(&["message", channel, name], &parts);
        }
    }
    let codes = &openapi["components"]["schemas"]["ProblemCode"]["x-extensible-enum"];
    for code in codes.as_array().unwrap() {
        holds(&["error", code.as_str().unwrap()], &[]);
    }
}

async fn left(browser: &Browser) -> BTreeSet<String> {
    serde_json::from_value(browser.run(LEFT).await).unwrap()
}

/// By fields, messages and errors, in words of any order, until a link leads out of it.
async fn search(browser: &Browser) {
    let all = left(browser).await;
    let query = browser.see("#query").await;
    for (words, found, expected) in [
        ("xyzzy", Some("0 found"), &[][..]),
        (
            "changed their mind not_me",
            None,
            &["channel-devicesocket", "message-devicesocket-decline"][..],
        ),
        ("idempotency_mismatch same key", None, &["error-idempotency-mismatch"]),
    ] {
        query.clear().await.unwrap();
        query.send_keys(words).await.unwrap();
        let (count, left) = (browser.text("#count").await, left(browser).await);
        assert!(count.ends_with(" found"), "{words}: {count}");
        assert!(found.is_none_or(|found| found == count), "{words}: {count}");
        assert!(expected.iter().all(|place| left.contains(*place)), "{words}: {left:?}");
        assert!(left.is_empty() == expected.is_empty() && left.len() < 12, "{words}: {left:?}");
        assert!(!browser.shows("#find").await, "{words}");
    }
    browser.run("location.hash = '#channel-webhooks'").await;
    browser.see("#message-webhooks-webhook-test").await;
    assert_eq!(left(browser).await, all, "the link has ended the search");
    assert_eq!(browser.text("#count").await, "");
}

/// Opens the page over these documents, in place of the relay's own.
async fn show(browser: &Browser, url: &str, openapi: &Value, asyncapi: &Value) {
    let source = format!(
        "const documents = {{ 'openapi.json': {openapi}, 'asyncapi.json': {asyncapi} }};
         globalThis.fetch = async (path) => new Response(JSON.stringify(documents[path]));"
    );
    let command = "Page.addScriptToEvaluateOnNewDocument";
    let script = browser.tell(command, json!({ "source": source })).await;
    browser.open(url).await;
    browser.see("#push").await;
    browser.tell("Page.removeScriptToEvaluateOnNewDocument", script).await;
}

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
                let is_known = matches!(&**key, "$ref" | "type" | "action" | "in" | "required")
                    || (key == "name" && map.len() <= 2)
                    || (key == "tags" && value[0].is_string());
                let value = if is_known { value.clone() } else { hostile(value, names) };
                (if named { format!("{key}{HOSTILE}") } else { key.clone() }, value)
            });
            Value::Object(each.collect::<Map<_, _>>())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// Two documents with one call and one message.
fn small() -> (Value, Value) {
    let openapi = json!({
        "info": { "version": "1" },
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
            "responses": {},
            "schemas": {
                "Problem": {},
                "Thing": { "type": "object", "required": ["name"], "properties": {
                    "name": { "type": "string", "minLength": 1, "maxLength": 9, "description": "Its *name*" },
                    "parts": { "type": ["array", "null"], "items": { "type": "object", "properties": {
                        "kind": { "type": "string", "enum": ["big", "small"], "x-enum-descriptions": ["Large", null] },
                    } } },
                } },
            },
            "securitySchemes": { "apiKey": { "type": "http" } },
        },
    });
    let asyncapi = json!({
        "info": { "tags": [{ "name": "news" }] },
        "channels": { "news": {
            "title": "News",
            "address": "/news",
            "tags": [{ "name": "news" }],
            "messages": { "told": { "$ref": "#/components/messages/told" } },
        } },
        "operations": { "tell": {
            "action": "send",
            "channel": { "$ref": "#/channels/news" },
            "messages": [{ "$ref": "#/channels/news/messages/told" }],
        } },
        "components": {
            "messages": { "told": { "payload": { "type": "object", "required": ["seq"], "properties": {
                "seq": { "type": "integer", "minimum": 1 },
            } } } },
            "securitySchemes": {},
        },
    });
    (openapi, asyncapi)
}

#[tokio::test]
async fn the_page_of_the_interface_is_small_and_may_load_nothing_but_the_relays_own() {
    let relay = TestRelay::start().await;
    let response = http().get(format!("{}/docs", relay.url())).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    let parts: Vec<_> = policy.split("; ").collect();
    let [nothing, style, script, connect, rest @ ..] = &*parts else { panic!("{policy}") };
    assert_eq!([*nothing, *connect], ["default-src 'none'", "connect-src 'self'"]);
    assert!(style.starts_with("style-src 'sha256-") && script.starts_with("script-src 'sha256-"));
    assert_eq!(
        rest,
        [
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    );
    let text = response.text().await.unwrap();
    assert!(text.len() < SIZE, "{} bytes", text.len());
    assert_eq!(text.matches("<script").count(), 1, "its own, which the policy names");
    assert!(!text.contains("http:") && !text.contains("https:"), "another host");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_interface_reads_well_on_every_screen_and_asks_no_other_host() {
    let Some(chromium) = needs::chromium("the page of the interface") else { return };
    let Some(axe) = needs::axe("the audit of the page of the interface") else { return };
    let relay = TestRelay::start().await;
    let url = format!("{}/docs", relay.url());
    let browser = Browser::start(&chromium).await;
    browser.open(&url).await;
    browser.see("#channel-devicesocket").await;
    // The style counts: its digest is the one that the policy allows.
    let grid = "return getComputedStyle(document.body).display";
    assert_eq!(browser.run(grid).await, "grid");
    let documents = ["asyncapi.json", "openapi.json"].map(|path| format!("{}/{path}", relay.url()));
    assert_eq!(browser.run(FETCHED).await, json!(documents));
    assert_eq!(browser.run(LOST).await, json!([]), "links that lead nowhere");
    let links = "return [...document.querySelectorAll('a:not([href^=\"#\"])')].map((a) => a.host)";
    let own = browser.run("return location.host").await;
    let Value::Array(hosts) = browser.run(links).await else { panic!("no hosts") };
    assert!(!hosts.is_empty() && hosts.iter().all(|host| *host == own), "{hosts:?}");
    let (openapi, asyncapi) =
        (fido_relay::schema::openapi::document(), fido_relay::schema::asyncapi::document());
    holds_all(&browser.run(PLACES).await, &openapi, &asyncapi);

    browser.enter("nav a[href='#access']").await;
    assert_eq!(browser.run("return location.hash").await, "#access");
    search(&browser).await;
    for (look, name) in
        [(LIGHT, "light"), (DARK, "dark"), (NARROW, "narrow"), (NARROW_DARK, "narrow-dark")]
    {
        browser.look(look).await;
        let sideways = "return document.documentElement.scrollWidth - innerWidth";
        assert_eq!(browser.run(sideways).await, 0, "{name}: scrolls sideways");
    }
    browser.look(LIGHT).await;
    browser.run(&axe).await;
    assert_eq!(browser.run(AUDIT).await, json!([]));

    // Into the middle of the page from elsewhere: its target is made after the page has loaded.
    browser.open("about:blank").await;
    browser.open(&format!("{url}#error-idempotency-mismatch")).await;
    let target = browser.see("tr:target").await;
    assert_eq!(target.id().await.unwrap().unwrap(), "error-idempotency-mismatch");
    let top = "return document.querySelector(':target').getBoundingClientRect().top";
    let top = browser.run(top).await.as_f64().unwrap();
    assert!((0.0..900.0).contains(&top), "it is at {top}");

    browser.tell("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    browser.open(&url).await;
    browser.see("noscript a[href='openapi.json']").await;
    browser.see("noscript a[href='asyncapi.json']").await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_interface_makes_nothing_but_text_of_what_a_document_says() {
    let Some(chromium) = needs::chromium("the page over other documents") else { return };
    let relay = TestRelay::start().await;
    let url = format!("{}/docs", relay.url());
    let (openapi, asyncapi) =
        (fido_relay::schema::openapi::document(), fido_relay::schema::asyncapi::document());
    let browser = Browser::start(&chromium).await;
    let mut tags = Vec::new();
    for (openapi, asyncapi) in
        [(openapi.clone(), asyncapi.clone()), (hostile(&openapi, false), hostile(&asyncapi, false))]
    {
        show(&browser, &url, &openapi, &asyncapi).await;
        let found: BTreeMap<String, u64> = serde_json::from_value(browser.run(TAGS).await).unwrap();
        tags.push(found);
    }
    let text = browser.text("main").await;
    assert!(text.contains("<script>alert(1)</script>"), "it did get to the page");
    let [plain, hostile] = &*tags else { panic!("{tags:?}") };
    for tag in hostile.keys() {
        assert!(plain.contains_key(tag), "{tag} came from a document");
    }
    assert_eq!(plain["article"], hostile["article"], "and the page is otherwise the same");
    assert_eq!(hostile["script"], 1, "the page's own");
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_and_a_message_are_shown_with_all_that_a_caller_needs_in_readable_colours() {
    let Some(chromium) = needs::chromium("the page over small documents") else { return };
    let Some(axe) = needs::axe("the contrast of the page over small documents") else { return };
    let relay = TestRelay::start().await;
    let browser = Browser::start(&chromium).await;
    let (openapi, asyncapi) = small();
    show(&browser, &format!("{}/docs", relay.url()), &openapi, &asyncapi).await;
    let call = browser.text("#call-post-things-id").await;
    for part in [
        "POST /things/{id}",
        "Credential: apiKey · a client with the scope thing:change",
        "name string",
        "Its *name* 1 to 9 characters",
        "parts[].kind string, optional",
        "big Largesmall",
        "409 name_taken",
        "-X POST \"$RELAY/things/$ID\" \\\n  -H \"Authorization: Bearer $KEY\"",
        "-d '{\"name\":\"it'\\''s\"}'",
    ] {
        assert!(call.contains(part), "{part} is not in {call}");
    }
    assert!(browser.has("#call-post-things-id a[href='#error-name-taken']").await);
    let message = browser.text("#message-news-told").await;
    for part in ["told from the relay", "seq integer", "at least 1"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    browser.run(&axe).await;
    for (look, name) in [(LIGHT, "light"), (DARK, "dark"), (NARROW, "narrow")] {
        browser.look(look).await;
        assert_eq!(browser.run(CONTRAST).await, json!([]), "{name}");
    }
    browser.quit().await;
}
