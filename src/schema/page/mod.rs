//! Both documents as one page for people. It is whole in itself: no other host, and no library of
//! templates, since its tags stand in the source and its texts in the documents. Its one script
//! searches the page; everything else works without it.

mod calls;
mod channels;
mod fields;
mod html;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use self::fields::{Book, literal};
use self::html::Html;

const STYLE: &str = include_str!("style.css");
const SEARCH: &str = include_str!("search.js");

/// What readers come with, and the anchor that answers it. Shown where the documents have it.
const QUESTIONS: [(&str, &[&str]); 12] = [
    (
        "How do I sign a user in, register a card, have a payment approved?",
        &["call", "post", "/v1/ceremonies"],
    ),
    ("How do I learn the outcome, and what may it be?", &["call", "get", "/v1/ceremonies/{id}"]),
    ("How does a page follow the steps as they happen?", &["channel", "ceremonyEvents"]),
    ("How do I take a prompt off the phone?", &["call", "delete", "/v1/ceremonies/{id}"]),
    ("How do I check the signature of a result?", &["call", "get", "/.well-known/jwks.json"]),
    ("How do I pair a phone, and see or revoke it?", &["call", "post", "/v1/pairings"]),
    ("What does the app on the phone receive and send?", &["channel", "deviceSocket"]),
    ("How does the phone say which code was typed?", &["message", "deviceSocket", "claim"]),
    ("How is my backend told without asking?", &["channel", "webhooks"]),
    ("Which credential and which scope do I need?", &["access"]),
    ("Why was I refused?", &["errors"]),
    (
        "How does a program made for a FIDO2 server's own API use this one?",
        &["tag", "client-direct"],
    ),
];

/// The page. Its one `<style>` and its one `<script>` are what a policy may allow by their digests.
#[must_use]
pub fn page(openapi: &Value, asyncapi: &Value) -> String {
    let mut html = Html::default();
    html.tag("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    html.tag("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    html.tag("<meta name=\"color-scheme\" content=\"light dark\">");
    html.tag("<link rel=\"icon\" href=\"data:,\"><title>fido-relay: interface</title><style>");
    html.tag(STYLE).tag("</style></head><body>");
    html.tag("<a class=\"skip\" href=\"#content\">Skip to the content</a>");
    html.tag("<header><h1>fido-relay</h1><p>Version ").text(&literal(&openapi["info"]["version"]));
    html.tag(" · for programs: <a href=\"openapi.json\">OpenAPI</a>, ");
    html.tag("<a href=\"asyncapi.json\">AsyncAPI</a></p></header>");
    contents(&mut html, openapi, asyncapi);
    let body = body(openapi, asyncapi);
    html.tag("<main id=\"content\">");
    find(&mut html, &body);
    html.append(body).tag("</main><script>").tag(SEARCH).tag("</script></body></html>");
    html.finish()
}

fn body(openapi: &Value, asyncapi: &Value) -> Html {
    let mut html = Html::default();
    html.tag("<section aria-labelledby=\"about\"><h2 id=\"about\">About</h2>");
    html.prose(openapi["info"]["description"].as_str().unwrap_or_default());
    html.prose(asyncapi["info"]["description"].as_str().unwrap_or_default());
    html.tag("<p>In the command lines, <code>$RELAY</code> is the relay's address, such as ");
    html.tag(
        "<code>https://relay.example</code>, and <code>$KEY</code> a credential.</p></section>",
    );
    access(&mut html, openapi, asyncapi);
    errors(&mut html, openapi);
    let mut shown = calls::Shown::default();
    for (tag, about, calls) in calls::by_tag(openapi) {
        html.tag("<section aria-labelledby=\"").anchor(&["tag", tag]).tag("\"><h2 id=\"");
        html.anchor(&["tag", tag]).tag("\">").text(&capital(tag)).tag("</h2><p>").sentence(about);
        html.tag("</p>");
        for (nth, call) in calls.iter().enumerate() {
            calls::article(&mut html, openapi, call, calls::twin(&calls[..nth], call), &mut shown);
        }
        html.tag("</section>");
    }
    html.tag("<section aria-labelledby=\"push\"><h2 id=\"push\">Sockets, events and webhooks</h2>");
    for (name, channel) in channels::in_order(asyncapi) {
        channels::article(&mut html, asyncapi, name, channel);
    }
    html.tag("</section>");
    html
}

/// The ways into the page: a search, which the script makes appear, and the common questions.
fn find(html: &mut Html, body: &Html) {
    html.tag("<section aria-labelledby=\"find\"><h2 id=\"find\">Find</h2>");
    html.tag("<div id=\"search\" hidden><label for=\"query\">Search calls, messages, fields and ");
    html.tag("errors</label><input id=\"query\" type=\"search\" autocomplete=\"off\">");
    html.tag(
        "<p id=\"count\" role=\"status\"></p><ul id=\"found\"></ul></div><ul class=\"questions\">",
    );
    for (question, words) in QUESTIONS.iter().filter(|(_, words)| body.has(words)) {
        html.tag("<li><a href=\"#").anchor(words).tag("\">").text(question).tag("</a></li>");
    }
    html.tag("</ul></section>");
}

fn contents(html: &mut Html, openapi: &Value, asyncapi: &Value) {
    html.tag("<nav aria-label=\"Contents\"><ul><li><a href=\"#find\">Find</a></li>");
    html.tag("<li><a href=\"#about\">About</a></li><li><a href=\"#access\">Credentials</a></li>");
    html.tag("<li><a href=\"#errors\">Errors</a></li></ul>");
    for (tag, _, calls) in calls::by_tag(openapi) {
        html.tag("<p><a href=\"#").anchor(&["tag", tag]).tag("\">").text(&capital(tag));
        html.tag("</a></p><ul>");
        for call in calls {
            html.tag("<li><a href=\"#").anchor(&call.anchor()).tag("\">").text(call.summary());
            html.tag("</a></li>");
        }
        html.tag("</ul>");
    }
    html.tag("<p><a href=\"#push\">Sockets, events and webhooks</a></p><ul>");
    for (name, channel) in channels::in_order(asyncapi) {
        html.tag("<li><a href=\"#").anchor(&["channel", name]).tag("\">");
        html.text(channel["title"].as_str().unwrap_or(name)).tag("</a></li>");
    }
    html.tag("</ul></nav>");
}

/// Credentials, and what scopes they may have.
fn access(html: &mut Html, openapi: &Value, asyncapi: &Value) {
    html.tag("<section aria-labelledby=\"access\"><h2 id=\"access\">Credentials</h2>");
    let kinds = [
        ("Credentials of calls", openapi, &["access"][..]),
        ("Credentials of sockets and events", asyncapi, &["access", "push"]),
    ];
    for (caption, document, before) in kinds {
        let Some(schemes) = document["components"]["securitySchemes"].as_object() else { continue };
        html.tag("<table><caption>").text(caption).tag("</caption><thead><tr>");
        html.tag("<th scope=\"col\">Credential</th><th scope=\"col\">What it is</th></tr></thead>");
        html.tag("<tbody>");
        for (name, scheme) in schemes {
            let anchor = [before, &[name.as_str()]].concat();
            html.tag("<tr id=\"").anchor(&anchor).tag("\"><th scope=\"row\">").code(name);
            html.tag("</th><td>").sentence(scheme["description"].as_str().unwrap_or_default());
            let flows = scheme["flows"].as_object().into_iter().flatten();
            let scopes =
                flows.flat_map(|(_, flow)| flow["scopes"].as_object().into_iter().flatten());
            let scopes: Vec<_> = scopes.collect();
            if !scopes.is_empty() {
                html.tag("<ul class=\"values\">");
                for (scope, about) in scopes {
                    html.tag("<li>").code(scope).tag(" ").sentence(&literal(about)).tag("</li>");
                }
                html.tag("</ul>");
            }
            html.tag("</td></tr>");
        }
        html.tag("</tbody></table>");
    }
    html.tag("</section>");
}

/// What a refusal looks like, and every code with its meaning and its headers.
fn errors(html: &mut Html, openapi: &Value) {
    html.tag("<section aria-labelledby=\"errors\"><h2 id=\"errors\">Errors</h2>");
    html.tag("<p>What every refusal of a call looks like (RFC 9457).</p>");
    let book = Book(openapi);
    let mut problem = Value::Object(book.whole(&openapi["components"]["schemas"]["Problem"]));
    let code = problem["properties"]["code"].take();
    problem["properties"]["code"] = json!({ "type": "string", "description": code["description"] });
    book.fields(html, &problem, "application/problem+json");
    html.tag("<table><caption>Codes</caption><thead><tr><th scope=\"col\">Code</th>");
    html.tag("<th scope=\"col\">Meaning</th></tr></thead><tbody>");
    for (code, meaning) in book.values_of(&code) {
        html.tag("<tr id=\"").anchor(&["error", &code]).tag("\"><th scope=\"row\">").code(&code);
        html.tag("</th><td>").sentence(&meaning);
        calls::headers_of(html, book, &code);
        html.tag("</td></tr>");
    }
    html.tag("</tbody></table></section>");
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
