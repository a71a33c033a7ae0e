//! Both documents as one page for people. It is whole in itself: no script, no other host.

use serde_json::Value;

/// The page. Its one `<style>` element is what a policy may allow by its digest.
#[must_use]
pub fn page(openapi: &Value, asyncapi: &Value) -> String {
    let list = |heading: &str, names: Option<&serde_json::Map<String, Value>>| {
        let items = names.into_iter().flat_map(serde_json::Map::keys);
        let items: String =
            items.map(|name| format!("<li><code>{}</code></li>", plain(name))).collect();
        format!("<h2>{heading}</h2><ul>{items}</ul>")
    };
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>fido-relay</title>\
         <style>body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto }}</style>\
         <h1>fido-relay</h1>{}{}",
        list("Calls", openapi["paths"].as_object()),
        list("Channels", asyncapi["channels"].as_object()),
    )
}

/// Text that is nothing but text in HTML.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => plain.push_str("&amp;"),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '"' => plain.push_str("&quot;"),
            '\'' => plain.push_str("&#39;"),
            other => plain.push(other),
        }
    }
    plain
}
