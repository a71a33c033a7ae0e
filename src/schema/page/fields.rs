//! A JSON Schema as a table of fields: names with types and bounds on one side, what they mean on
//! the other.

use serde_json::{Map, Value};

use super::html::Html;
use crate::schema::portable::{MEANINGS, OPEN};

/// Fields of fields of fields … are shown so deep.
const DEPTH: usize = 5;
/// More values than this are folded.
const FEW: usize = 4;
/// A longer pattern says nothing to a reader.
const PATTERN: usize = 48;

/// A document whose references are looked up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Book<'a>(pub(super) &'a Value);

impl Book<'_> {
    /// A schema with what it refers to written out. What stands beside a reference wins.
    pub(super) fn whole(self, schema: &Value) -> Map<String, Value> {
        self.resolved(schema, DEPTH)
    }

    fn resolved(self, schema: &Value, depth: usize) -> Map<String, Value> {
        let mut whole = Map::new();
        if depth == 0 {
            return whole;
        }
        let target = schema.get("$ref").and_then(Value::as_str);
        let target = target.and_then(|target| self.0.pointer(target.strip_prefix('#')?));
        let all = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
        for part in target.into_iter().chain(all) {
            overlay(&mut whole, self.resolved(part, depth - 1));
        }
        let mut own = schema.as_object().cloned().unwrap_or_default();
        own.remove("$ref");
        own.remove("allOf");
        // What may be left out or be null is the same to a reader.
        for list in ["oneOf", "anyOf"] {
            let Some(Value::Array(cases)) = own.get_mut(list) else { continue };
            cases.retain(|case| case["type"] != "null");
            if let [only] = cases.as_slice() {
                let only = self.resolved(&only.clone(), depth - 1);
                own.remove(list);
                overlay(&mut whole, only);
            }
        }
        overlay(&mut whole, own);
        whole
    }

    /// The schema's fields as a table, or its type where it has none.
    pub(super) fn fields(self, html: &mut Html, schema: &Value, caption: &str) {
        let whole = self.whole(schema);
        let rows = self.rows(&whole, "", DEPTH);
        if rows.is_empty() {
            html.tag("<p>").text(&self.kind(&whole)).tag("</p>");
            return;
        }
        html.tag("<table><caption>").text(caption).tag("</caption>");
        html.tag(
            "<thead><tr><th scope=\"col\">Field</th><th scope=\"col\">Meaning</th></tr></thead>",
        );
        html.tag("<tbody>");
        for row in rows {
            self.row(html, &row.name, row.required, &row.schema);
        }
        html.tag("</tbody></table>");
    }

    /// One row: of a field, a parameter or a header.
    pub(super) fn row(
        self,
        html: &mut Html,
        name: &str,
        required: bool,
        schema: &Map<String, Value>,
    ) {
        html.tag("<tr><th scope=\"row\">").code(name);
        html.tag(" <span class=\"kind\">").text(&self.kind(schema)).tag("</span>");
        if !required {
            html.tag(" <span class=\"may\">optional</span>");
        }
        html.tag("</th><td>")
            .sentence(schema.get("description").and_then(Value::as_str).unwrap_or(""));
        let bounds = bounds(schema);
        if !bounds.is_empty() {
            html.tag(" <span class=\"bounds\">").text(&bounds).tag("</span>");
        }
        self.choice(html, schema);
        html.tag("</td></tr>");
    }

    fn rows(self, whole: &Map<String, Value>, before: &str, depth: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        if depth == 0 {
            return rows;
        }
        let required = whole.get("required").and_then(Value::as_array);
        let is_required =
            |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
        let properties = whole.get("properties").and_then(Value::as_object).into_iter().flatten();
        for (name, schema) in properties {
            let schema = self.whole(schema);
            let path = format!("{before}{name}");
            let (inner, path_of_inner) = match schema.get("items") {
                Some(items) => (self.whole(items), format!("{path}[].")),
                None => (schema.clone(), format!("{path}.")),
            };
            rows.push(Row { required: is_required(name), name: path, schema });
            rows.extend(self.rows(&inner, &path_of_inner, depth - 1));
        }
        rows
    }

    /// The values to choose from, with what each means.
    fn choice(self, html: &mut Html, schema: &Map<String, Value>) {
        let of_items = schema.get("items").map(|items| self.whole(items));
        let values = self.values(of_items.as_ref().unwrap_or(schema), DEPTH).unwrap_or_default();
        let folded = values.len() > FEW;
        if values.len() < 2 {
            return;
        }
        if folded {
            html.tag("<details><summary>").text(&format!("{} values", values.len()));
            html.tag("</summary>");
        }
        html.tag("<ul class=\"values\">");
        for (value, meaning) in values {
            html.tag("<li>").code(&value);
            if !meaning.is_empty() {
                html.tag(" ").sentence(&meaning);
            }
            html.tag("</li>");
        }
        html.tag("</ul>");
        if folded {
            html.tag("</details>");
        }
    }

    /// The values of a choice with their meanings; none if it is no choice.
    pub(super) fn values_of(self, schema: &Value) -> Vec<(String, String)> {
        self.values(&self.whole(schema), DEPTH).unwrap_or_default()
    }

    /// The values of a choice, or nothing if it is none.
    fn values(self, schema: &Map<String, Value>, depth: usize) -> Option<Vec<(String, String)>> {
        let about = || schema.get("description").and_then(Value::as_str).unwrap_or("").to_owned();
        if depth == 0 {
            return None;
        }
        let values = ["enum", OPEN].into_iter().find_map(|key| schema.get(key)?.as_array());
        if let Some(values) = values {
            let meaning = |nth: usize| schema.get(MEANINGS)?.get(nth)?.as_str();
            let meanings = (0..).map(|nth| meaning(nth).unwrap_or_default().to_owned());
            return Some(values.iter().map(literal).zip(meanings).collect());
        }
        let cases = ["oneOf", "anyOf"].into_iter().find_map(|list| schema.get(list)?.as_array());
        match (cases, schema.get("pattern").and_then(Value::as_str)) {
            (Some(cases), _) => {
                let each = |case: &Value| self.values(&self.whole(case), depth - 1);
                let values = cases.iter().map(each).collect::<Option<Vec<_>>>()?;
                Some(values.concat())
            }
            (None, Some(pattern)) if depth < DEPTH => Some(vec![(pattern.to_owned(), about())]),
            (None, _) => None,
        }
    }

    /// The type in a word or two.
    pub(super) fn kind(self, schema: &Map<String, Value>) -> String {
        if let Some([value]) = schema.get("enum").and_then(Value::as_array).map(Vec::as_slice) {
            return literal(value);
        }
        if let Some(items) = schema.get("items") {
            return format!("array of {}", self.kind(&self.whole(items)));
        }
        let kind = match schema.get("type") {
            Some(Value::String(kind)) => kind.clone(),
            Some(Value::Array(kinds)) => {
                let kinds = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
                kinds.collect::<Vec<_>>().join(" or ")
            }
            _ if self.values(schema, DEPTH).is_some() => "string".to_owned(),
            _ if schema.contains_key("properties") => "object".to_owned(),
            _ => "any".to_owned(),
        };
        // Sizes of integers are of no interest in JSON.
        match schema.get("format").and_then(Value::as_str) {
            Some(format) if kind == "string" => format!("{kind}, {format}"),
            _ => kind,
        }
    }
}

struct Row {
    name: String,
    required: bool,
    schema: Map<String, Value>,
}

/// Lays one schema over another.
fn overlay(under: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Object(under)), Value::Object(value)) if key == "properties" => {
                for (name, value) in value {
                    let Some(Value::Object(known)) = under.get_mut(&name) else {
                        under.insert(name, value);
                        continue;
                    };
                    known.extend(value.as_object().cloned().unwrap_or_default());
                }
            }
            (Some(Value::Array(under)), Value::Array(value)) if key == "required" => {
                under.extend(value);
            }
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// A value as it is written; a text without its quotes.
pub(super) fn literal(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// How long, how many, how large.
fn bounds(schema: &Map<String, Value>) -> String {
    let number = |key: &str| schema.get(key).and_then(Value::as_u64);
    let range = |(least, most): (&str, &str), what: &str| match (number(least), number(most)) {
        (None, None) => None,
        (Some(0), None) => None,
        (Some(least), Some(most)) => Some(format!("{least} to {most}{what}")),
        (Some(least), None) => Some(format!("at least {least}{what}")),
        (None, Some(most)) => Some(format!("at most {most}{what}")),
    };
    let pattern = schema.get("pattern").and_then(Value::as_str);
    let pattern = pattern.filter(|pattern| pattern.chars().count() <= PATTERN);
    let told = [
        range(("minLength", "maxLength"), " characters"),
        range(("minimum", "maximum"), ""),
        range(("minItems", "maxItems"), " items"),
        pattern.map(str::to_owned),
    ];
    told.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}
