//! Both documents as one page for people. It is whole in itself: no script, no other host, and no
//! library of templates, since its tags stand in the source and its texts in the documents.

mod calls;
mod channels;
mod fields;
mod html;

#[cfg(test)]
mod tests;

use serde_json::Value;

use self::fields::{Book, literal};
use self::html::Html;

const STYLE: &str = include_str!("style.css");

/// The page. Its one `<style>` element is what a policy may allow by its digest.
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
    html.tag(" · for programs: <a href=\"/openapi.json\">OpenAPI</a>, ");
    html.tag("<a href=\"/asyncapi.json\">AsyncAPI</a></p></header>");
    contents(&mut html, openapi, asyncapi);
    html.tag("<main id=\"content\"><section aria-labelledby=\"about\"><h2 id=\"about\">About</h2>");
    html.prose(openapi["info"]["description"].as_str().unwrap_or_default());
    html.prose(asyncapi["info"]["description"].as_str().unwrap_or_default());
    html.tag("<p>In the command lines, <code>$RELAY</code> is the relay's address, such as ");
    html.tag(
        "<code>https://relay.example</code>, and <code>$KEY</code> a credential.</p></section>",
    );
    access(&mut html, openapi, asyncapi);
    for (tag, about, calls) in calls::by_tag(openapi) {
        html.tag("<section aria-labelledby=\"").anchor(&["tag", tag]).tag("\"><h2 id=\"");
        html.anchor(&["tag", tag]).tag("\">").text(&capital(tag)).tag("</h2><p>").sentence(about);
        html.tag("</p>");
        for call in calls {
            calls::article(&mut html, openapi, &call);
        }
        html.tag("</section>");
    }
    html.tag("<section aria-labelledby=\"push\"><h2 id=\"push\">Sockets, events and webhooks</h2>");
    for (name, channel) in channels::in_order(asyncapi) {
        channels::article(&mut html, asyncapi, name, channel);
    }
    html.tag("</section></main></body></html>");
    html.finish()
}

fn contents(html: &mut Html, openapi: &Value, asyncapi: &Value) {
    html.tag("<nav aria-label=\"Contents\"><ul><li><a href=\"#about\">About</a></li>");
    html.tag("<li><a href=\"#access\">Credentials</a></li></ul>");
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
    // Whatever a reader looks up of a single word is one place away.
    let problem = Book(openapi).whole(&openapi["components"]["schemas"]["Problem"]);
    if !problem.is_empty() {
        let problem = Value::Object(problem);
        html.tag("<h3>Problems</h3><p>What every refusal of a call looks like (RFC 9457).</p>");
        Book(openapi).fields(html, &problem, "application/problem+json");
    }
    html.tag("</section>");
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}
