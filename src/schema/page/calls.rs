//! The calls of the OpenAPI document.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fields::{Book, literal};
use super::html::Html;

/// Methods in the order in which a reader looks for them.
const METHODS: [&str; 5] = ["post", "get", "patch", "put", "delete"];

/// One call of the document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) path: &'a str,
    pub(super) method: &'a str,
    pub(super) said: &'a Value,
}

impl Call<'_> {
    fn text(&self, key: &str) -> &str {
        self.said[key].as_str().unwrap_or_default()
    }

    /// Its anchor, of the method and the path.
    pub(super) fn anchor(&self) -> [&str; 3] {
        ["call", self.method, self.path]
    }

    fn link(&self, html: &mut Html) {
        html.tag("<a href=\"#").anchor(&self.anchor()).tag("\">");
        html.text(&self.method.to_ascii_uppercase()).tag(" ").text(self.path).tag("</a>");
    }

    /// What it is called in the contents.
    pub(super) fn summary(&self) -> &str {
        Some(self.text("summary")).filter(|text| !text.is_empty()).unwrap_or(self.path)
    }
}

/// Tags with their descriptions and calls, in the order of the document.
pub(super) fn by_tag(openapi: &Value) -> Vec<(&str, &str, Vec<Call<'_>>)> {
    let paths = openapi["paths"].as_object().into_iter().flatten();
    let calls: Vec<_> = paths
        .flat_map(|(path, item)| {
            METHODS
                .into_iter()
                .filter_map(move |method| Some(Call { path, method, said: item.get(method)? }))
        })
        .collect();
    let tags = openapi["tags"].as_array().into_iter().flatten();
    tags.filter_map(|tag| {
        let name = tag["name"].as_str()?;
        let of_it = |call: &&Call<'_>| call.said["tags"][0] == *name;
        let calls: Vec<_> = calls.iter().filter(of_it).copied().collect();
        Some((name, tag["description"].as_str().unwrap_or_default(), calls))
    })
    .filter(|(_, _, calls)| !calls.is_empty())
    .collect()
}

/// The first of these calls that differs from this one in nothing but its name.
pub(super) fn twin<'a>(calls: &[Call<'a>], call: &Call<'_>) -> Option<Call<'a>> {
    let essence = |call: &Call<'_>| {
        let mut said = call.said.as_object().cloned().unwrap_or_default();
        said.retain(|key, _| !matches!(&**key, "operationId" | "summary"));
        (call.method.to_owned(), said)
    };
    let own = essence(call);
    calls.iter().find(|other| essence(other) == own).copied()
}

/// The bodies of answers that are on the page already, each with its place.
#[derive(Debug, Default)]
pub(super) struct Shown<'a>(Vec<(Value, Call<'a>, String)>);

impl<'a> Shown<'a> {
    /// The fields of a body, or where on the page the same fields are.
    fn fields(
        &mut self,
        html: &mut Html,
        book: Book<'_>,
        content: &Value,
        media_type: &str,
        (call, status): (&Call<'a>, &str),
    ) {
        let schema = &content["schema"];
        let Some((_, first, of)) = self.0.iter().find(|(known, ..)| known == schema) else {
            book.fields(html, schema, media_type);
            self.0.push((schema.clone(), *call, status.to_owned()));
            return;
        };
        html.tag("<p>As with ").code(of);
        if first.anchor() != call.anchor() {
            html.tag(" of ");
            first.link(html);
        }
        html.tag(".</p>");
    }
}

/// One call; of a twin of an earlier call, no more than that it is one.
pub(super) fn article<'a>(
    html: &mut Html,
    openapi: &Value,
    call: &Call<'a>,
    twin: Option<Call<'a>>,
    shown: &mut Shown<'a>,
) {
    let book = Book(openapi);
    html.tag("<article id=\"").anchor(&call.anchor()).tag("\"><h3><span class=\"method ");
    html.anchor(&[call.method]).tag("\">").text(&call.method.to_ascii_uppercase());
    html.tag("</span> <code class=\"path\">")
        .text(call.path)
        .tag("</code></h3><p class=\"summary\">");
    html.sentence(call.summary()).tag("</p>");
    if let Some(twin) = twin {
        html.tag("<p>The same as <a href=\"#").anchor(&twin.anchor()).tag("\">");
        html.text(&twin.method.to_ascii_uppercase())
            .tag(" ")
            .text(twin.path)
            .tag("</a>.</p></article>");
        return;
    }
    html.prose(call.text("description"));
    access(html, call.said);
    parameters(html, book, call.said);
    body(html, book, call.said);
    answers(html, book, call, shown);
    curl(html, call);
    html.tag("</article>");
}

/// Which credentials open it.
fn access(html: &mut Html, said: &Value) {
    let Some(ways) = said["security"].as_array().filter(|ways| !ways.is_empty()) else {
        html.tag("<p class=\"access\">No credential.</p>");
        return;
    };
    html.tag("<p class=\"access\">Credential: ");
    let mut needed: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, scopes) in ways.iter().filter_map(Value::as_object).flatten() {
        let scopes = scopes.as_array().into_iter().flatten().filter_map(Value::as_str);
        match needed.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => known.extend(scopes),
            None => needed.push((name, scopes.collect())),
        }
    }
    let mut scoped: Vec<&str> = needed.iter().flat_map(|(_, scopes)| scopes).copied().collect();
    scoped.sort_unstable();
    scoped.dedup();
    for (index, (name, _)) in needed.iter().enumerate() {
        html.tag(if index > 0 { " or " } else { "" });
        html.tag("<a href=\"#").anchor(&["access", name]).tag("\">").text(name).tag("</a>");
    }
    for (index, scope) in scoped.iter().enumerate() {
        html.tag(if index > 0 { " or " } else { " · a client with the scope " }).code(scope);
    }
    html.tag("</p>");
}

fn parameters(html: &mut Html, book: Book<'_>, said: &Value) {
    let Some(parameters) = said["parameters"].as_array().filter(|list| !list.is_empty()) else {
        return;
    };
    html.tag("<h4>Parameters</h4><table><thead><tr><th scope=\"col\">Parameter</th>");
    html.tag("<th scope=\"col\">Meaning</th></tr></thead><tbody>");
    for parameter in parameters {
        let parameter = book.whole(parameter);
        let mut schema = book.whole(&parameter.get("schema").cloned().unwrap_or_default());
        let place = parameter.get("in").and_then(Value::as_str).unwrap_or_default();
        let own = parameter.get("description").or(schema.get("description"));
        let own = own.and_then(Value::as_str).unwrap_or_default();
        let about = format!("In the {place}. {own}");
        schema.insert("description".to_owned(), about.into());
        let name = parameter.get("name").map(literal).unwrap_or_default();
        book.row(html, &name, parameter.get("required") == Some(&Value::Bool(true)), &schema);
    }
    html.tag("</tbody></table>");
}

fn body(html: &mut Html, book: Book<'_>, said: &Value) {
    let Some(content) = said["requestBody"]["content"].as_object() else { return };
    html.tag("<h4>Body</h4>");
    for (media_type, content) in content {
        book.fields(html, &content["schema"], media_type);
        examples(html, content);
    }
}

fn answers<'a>(html: &mut Html, book: Book<'_>, call: &Call<'a>, shown: &mut Shown<'a>) {
    let Some(answers) = call.said["responses"].as_object() else { return };
    let answers = answers.iter().map(|(status, it)| (status, Value::Object(book.whole(it))));
    let (refusals, answers): (Vec<_>, Vec<_>) = answers.partition(|(_, it)| is_refusal(it));
    if !answers.is_empty() {
        html.tag("<h4>Answers</h4><table><thead><tr><th scope=\"col\">Status</th>");
        html.tag("<th scope=\"col\">Meaning</th></tr></thead><tbody>");
    }
    for (status, answer) in &answers {
        html.tag("<tr><th scope=\"row\">").code(status).tag("</th><td>");
        html.sentence(answer["description"].as_str().unwrap_or_default());
        for code in codes(answer) {
            html.tag(" ");
            error(html, code);
        }
        header_names(
            html,
            &answer["headers"].as_object().into_iter().flat_map(Map::keys).collect(),
        );
        let contents = answer["content"].as_object().into_iter().flatten();
        for (media_type, content) in contents.filter(|(kind, _)| *kind != PROBLEM) {
            html.tag("<details><summary>Fields of ").text(media_type).tag("</summary>");
            shown.fields(html, book, content, media_type, (call, status));
            examples(html, content);
            html.tag("</details>");
        }
        html.tag("</td></tr>");
    }
    if !answers.is_empty() {
        html.tag("</tbody></table>");
    }
    if !refusals.is_empty() {
        html.tag("<h4>Errors</h4><ul class=\"toc\">");
    }
    for (status, refusal) in &refusals {
        html.tag("<li><code>").text(status).tag("</code>");
        for code in codes(refusal) {
            html.tag(" ");
            error(html, code);
        }
        html.tag("</li>");
    }
    if !refusals.is_empty() {
        html.tag("</ul>");
    }
}

/// The media type of problems (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// Whether an answer is a problem and nothing else.
fn is_refusal(answer: &Value) -> bool {
    let kinds = answer["content"].as_object();
    kinds.is_some_and(|kinds| kinds.len() == 1 && kinds.contains_key(PROBLEM))
}

/// A code that leads to its meaning.
fn error(html: &mut Html, code: &str) {
    html.tag("<a href=\"#").anchor(&["error", code]).tag("\">").code(code).tag("</a>");
}

fn header_names(html: &mut Html, names: &BTreeSet<&String>) {
    if !names.is_empty() {
        let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        html.tag(" <span class=\"bounds\">Headers: ").text(&names.join(", ")).tag("</span>");
    }
}

/// The headers that answers with this code carry.
pub(super) fn headers_of(html: &mut Html, book: Book<'_>, code: &str) {
    let answers = book.0["components"]["responses"].as_object().into_iter().flat_map(Map::values);
    let answers = answers.filter(|answer| codes(answer).contains(&code));
    let headers = answers.filter_map(|answer| answer["headers"].as_object());
    header_names(html, &headers.flat_map(Map::keys).collect());
}

/// The codes of an answer that is a problem.
fn codes(answer: &Value) -> Vec<&str> {
    let examples = answer["content"][PROBLEM]["examples"].as_object().into_iter().flatten();
    examples.map(|(code, _)| code.as_str()).collect()
}

fn examples(html: &mut Html, content: &Value) {
    for value in example_values(content) {
        html.tag("<pre>").text(&written(value)).tag("</pre>");
    }
}

fn example_values(content: &Value) -> impl Iterator<Item = &Value> {
    let named = content["examples"].as_object().into_iter().flat_map(Map::values);
    named.filter_map(|example| example.get("value")).chain(content.get("example"))
}

/// JSON in lines; a text as it is.
pub(super) fn written(value: &Value) -> String {
    let pretty = || serde_json::to_string_pretty(value).unwrap_or_default();
    value.as_str().map_or_else(pretty, str::to_owned)
}

/// The call by a command line, ready to be copied.
fn curl(html: &mut Html, call: &Call<'_>) {
    let mut path = String::new();
    for (index, part) in call.path.split(['{', '}']).enumerate() {
        let variable = format!("${}", part.to_ascii_uppercase());
        path.push_str(if index % 2 == 1 { &variable } else { part });
    }
    let mut lines = vec![format!("curl -i \"$RELAY{path}\"")];
    if call.method != "get" {
        lines[0] = format!("curl -i -X {} \"$RELAY{path}\"", call.method.to_ascii_uppercase());
    }
    if call.said["security"].as_array().is_some_and(|ways| !ways.is_empty()) {
        lines.push("-H \"Authorization: Bearer $KEY\"".to_owned());
    }
    let bodies = call.said["requestBody"]["content"].as_object().into_iter().flatten();
    for (media_type, content) in bodies.take(1) {
        lines.push(format!("-H 'Content-Type: {media_type}'"));
        let Some(value) = example_values(content).next() else { continue };
        match value.as_object().filter(|_| media_type == "application/x-www-form-urlencoded") {
            Some(form) => lines.extend(form.iter().map(|(name, value)| {
                format!("--data-urlencode {}", quoted(&format!("{name}={}", literal(value))))
            })),
            None => lines.push(format!("-d {}", quoted(&literal(value)))),
        }
    }
    html.tag("<details><summary>By curl</summary><pre>").text(&lines.join(" \\\n  "));
    html.tag("</pre></details>");
}

/// As one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
