//! The channels of the AsyncAPI document: sockets, server-sent events, webhooks.

use serde_json::{Map, Value};

use super::calls::written;
use super::fields::{Book, literal};
use super::html::Html;

/// Channels in the order of the contents, by the tag that the document gives them.
pub(super) fn in_order(asyncapi: &Value) -> Vec<(&String, &Value)> {
    let tags = asyncapi["info"]["tags"].as_array().into_iter().flatten();
    let channels = || asyncapi["channels"].as_object().into_iter().flatten();
    tags.flat_map(|tag| channels().filter(move |(_, it)| it["tags"][0]["name"] == tag["name"]))
        .collect()
}

/// The messages of a channel, what the relay sends first: each with its operation.
pub(super) fn messages<'a>(asyncapi: &'a Value, channel: &str) -> Vec<Message<'a>> {
    let target = format!("#/channels/{channel}");
    let operations = asyncapi["operations"].as_object().into_iter().flatten();
    let mut messages: Vec<_> = operations
        .filter(|(_, operation)| operation["channel"]["$ref"] == *target)
        .flat_map(|(_, operation)| {
            let messages = operation["messages"].as_array().into_iter().flatten();
            messages.filter_map(move |message| {
                let name = message["$ref"].as_str()?.rsplit('/').next()?;
                Some(Message { name, operation })
            })
        })
        .collect();
    messages.sort_by_key(|message| message.operation["action"] != "send");
    messages
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) name: &'a str,
    operation: &'a Value,
}

/// One channel with its messages.
pub(super) fn article(html: &mut Html, asyncapi: &Value, name: &str, channel: &Value) {
    let book = Book(asyncapi);
    let text = |key: &str| channel[key].as_str().unwrap_or_default();
    html.tag("<article id=\"").anchor(&["channel", name]).tag("\"><h3>").text(text("title"));
    html.tag("</h3><p class=\"summary\">");
    if let Some(address) = channel["address"].as_str() {
        html.tag("<span class=\"method get\">GET</span> <code class=\"path\">").text(address);
        html.tag("</code> ");
    } else {
        html.tag("<span class=\"method post\">POST</span> ");
    }
    html.sentence(text("summary")).tag("</p>").prose(text("description"));
    credentials(html, asyncapi, name);
    request(html, book, asyncapi, name, channel);
    html.tag("<h4>Messages</h4><ul class=\"toc\">");
    let messages = messages(asyncapi, name);
    for message in &messages {
        html.tag("<li><a href=\"#").anchor(&["message", name, message.name]).tag("\">");
        html.code(message.name).tag("</a></li>");
    }
    html.tag("</ul>");
    for message in messages {
        one(html, book, name, channel, message);
    }
    proofs(html, book, channel);
    html.tag("</article>");
}

fn credentials(html: &mut Html, asyncapi: &Value, name: &str) {
    let target = format!("#/channels/{name}");
    let operations = asyncapi["operations"].as_object().into_iter().flat_map(Map::values);
    let mut secured = operations.filter(|one| one["channel"]["$ref"] == *target);
    let Some(ways) = secured.find_map(|one| one["security"].as_array()) else { return };
    html.tag("<p class=\"access\">Credential: ");
    let names = ways.iter().filter_map(|way| way["$ref"].as_str()?.rsplit('/').next());
    for (index, way) in names.enumerate() {
        html.tag(if index > 0 { " or " } else { "" });
        html.tag("<a href=\"#").anchor(&["access", "push", way]).tag("\">").text(way).tag("</a>");
    }
    html.tag("</p>");
}

/// What the request that opens it may carry.
fn request(html: &mut Html, book: Book<'_>, asyncapi: &Value, name: &str, channel: &Value) {
    let target = format!("#/channels/{name}");
    let operations = asyncapi["operations"].as_object().into_iter().flat_map(Map::values);
    let bound = operations.filter(|one| one["channel"]["$ref"] == *target);
    let mut query = bound.filter_map(|one| one["bindings"]["http"]["query"].as_object());
    let socket = &channel["bindings"]["ws"];
    let query = socket["query"].as_object().or(query.next());
    let places = [
        ("In the path. ", channel["parameters"].as_object(), true),
        ("In the query. ", query.and_then(|it| it["properties"].as_object()), false),
        ("In the header. ", socket["headers"]["properties"].as_object(), true),
        ("In the header. ", channel["x-request-headers"].as_object(), false),
    ];
    if places.iter().all(|(_, fields, _)| fields.is_none()) {
        return;
    }
    html.tag("<h4>Request</h4><table><thead><tr><th scope=\"col\">Parameter</th>");
    html.tag("<th scope=\"col\">Meaning</th></tr></thead><tbody>");
    for (place, fields, required) in places {
        for (name, schema) in fields.into_iter().flatten() {
            let mut schema = book.whole(schema);
            let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
            let about = format!("{place}{about}");
            schema.insert("description".to_owned(), about.into());
            schema.entry("type").or_insert("string".into());
            book.row(html, name, required, &schema);
        }
    }
    html.tag("</tbody></table>");
}

fn one(html: &mut Html, book: Book<'_>, channel: &str, of: &Value, message: Message<'_>) {
    let Message { name, operation } = message;
    let said = Value::Object(book.whole(&of["messages"][name]));
    let sends = operation["action"] == "send";
    html.tag("<section class=\"message\" id=\"").anchor(&["message", channel, name]);
    html.tag("\"><h5>").code(name).tag(" <span class=\"way\">");
    html.tag(if sends { "from the relay" } else { "to the relay" }).tag("</span></h5><p>");
    html.sentence(said["summary"].as_str().unwrap_or_default()).tag("</p>");
    html.prose(said["description"].as_str().unwrap_or_default());
    let replies = operation["reply"]["messages"].as_array().into_iter().flatten();
    let replies = replies.filter_map(|reply| reply["$ref"].as_str()?.rsplit('/').next());
    for (index, reply) in replies.enumerate() {
        html.tag(if index > 0 { ", " } else { "<p class=\"access\">Answered by " });
        html.tag("<a href=\"#").anchor(&["message", channel, reply]).tag("\">").code(reply);
        html.tag("</a>");
    }
    if operation.get("reply").is_some() {
        html.tag("</p>");
    }
    if said["headers"].is_object() {
        book.fields(html, &said["headers"], "Headers");
    }
    book.fields(
        html,
        &said["payload"],
        if said["headers"].is_object() { "Body" } else { "Fields" },
    );
    for example in said["examples"].as_array().into_iter().flatten() {
        html.tag("<details><summary>Example of ").code(name).tag("</summary><pre>");
        html.text(&written(&example["payload"])).tag("</pre></details>");
    }
    html.tag("</section>");
}

/// What a device signs.
fn proofs(html: &mut Html, book: Book<'_>, channel: &Value) {
    let Some(proofs) = channel["x-proofs"].as_array() else { return };
    html.tag("<h4>Proofs</h4><p>What a device signs: compact JWS (RFC 7515), ");
    html.tag("told apart by their <code>typ</code>.</p>");
    for proof in proofs {
        html.tag("<section class=\"message\"><h5>").code(&literal(&proof["typ"])).tag("</h5><p>");
        html.text(&literal(&proof["alg"])).tag(" by ").text(&literal(&proof["signedBy"]));
        html.tag(", in ").sentence(&literal(&proof["in"])).tag("</p>");
        book.fields(html, &proof["claims"], "Claims");
        html.tag("</section>");
    }
}
