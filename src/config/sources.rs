//! Where values come from: the file and the variables, flattened to dotted keys, later over
//! earlier. Nothing is interpreted here but TOML's own grammar.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::reader::{Mistake, Source};

/// What every variable begins with.
pub(super) const PREFIX: &str = "FIDO_RELAY_";
/// Names the file, and is no key of it.
const FILE_VARIABLE: &str = "FIDO_RELAY_CONFIG";

/// A value as it was given.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// A variable's text, whatever type it is to become.
    Text(String),
    /// The file's value, which has a type.
    Value(toml::Value),
}

/// Everything that was given.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) values: BTreeMap<String, (Raw, Source)>,
    pub(super) mistakes: Vec<Mistake>,
}

impl Given {
    /// Adds a file's keys.
    pub(super) fn add_file(&mut self, path: &Path, text: &str) {
        let line_of = |offset: usize| {
            1 + text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
        };
        let place = |offset| Source::File { path: path.to_owned(), line: Some(line_of(offset)) };
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut broken = BTreeSet::new();
        for error in errors {
            let line = line_of(error.span().map_or(0, |span| span.start));
            // The parser goes on after an error, and what it says next of the line is about a guess.
            if !broken.insert(line) {
                continue;
            }
            let source = Source::File { path: path.to_owned(), line: Some(line) };
            let message = if has_bare_text(text.lines().nth(line - 1).unwrap_or_default()) {
                "text must stand in double quotes"
            } else {
                error.message()
            };
            self.mistakes.push(Mistake::new(source, None, message));
        }
        let known = self.mistakes.len();
        self.add_table("", document.into_inner(), &place);
        let is_broken = |source: &Source| {
            matches!(source, Source::File { path: of, line: Some(line) }
                if of == path && broken.contains(line))
        };
        let further = self.mistakes.split_off(known);
        self.mistakes.extend(further.into_iter().filter(|mistake| !is_broken(&mistake.source)));
        self.values.retain(|_, (_, source)| !is_broken(source));
    }

    /// Remembers that the file cannot be read.
    pub(super) fn add_unreadable(&mut self, path: &Path, error: &std::io::Error) {
        let source = Source::File { path: path.to_owned(), line: None };
        self.mistakes.push(Mistake::new(source, None, format!("cannot be read: {error}")));
    }

    fn add_table(&mut self, prefix: &str, table: DeTable<'_>, place: &impl Fn(usize) -> Source) {
        for (name, value) in table {
            let source = place(name.span().start);
            let key = format!("{prefix}{}", name.get_ref());
            let span = value.span();
            let value = value.into_inner();
            if let DeValue::Table(inner) = value {
                self.add_table(&format!("{key}."), inner, place);
                continue;
            }
            let spanned = Spanned::new(span, value);
            match toml::Value::deserialize(ValueDeserializer::from(spanned)) {
                Ok(value) => drop(self.values.insert(key, (Raw::Value(value), source))),
                Err(error) => {
                    self.mistakes.push(Mistake::new(source, Some(&key), error.message()));
                }
            }
        }
    }

    /// Adds the variables that are ours, over the file's keys.
    pub(super) fn add_variables(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) {
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            // Set to nothing is how compose files and shells say "not set".
            if value.is_empty()
                || name == FILE_VARIABLE
                || is_kubernetes(rest)
                || is_a_clients(rest)
            {
                continue;
            }
            let source = Source::Variable(name.to_owned());
            let key = rest.to_ascii_lowercase().replace("__", ".");
            match value.into_string() {
                Ok(text) => drop(self.values.insert(key, (Raw::Text(text), source))),
                Err(_) => self.mistakes.push(Mistake::new(source, None, "must be UTF-8")),
            }
        }
    }
}

/// Whether programs that call the relay read this variable: the examples, the clients' packages and
/// their tests. It is set in terminals where the relay's own commands are typed, too.
fn is_a_clients(rest: &str) -> bool {
    matches!(rest, "API_KEY" | "URL" | "ISSUER" | "PROGRAM") || rest.starts_with("TEST_")
}

/// Whether a line of the file gives a key a value that begins like a text or an address and has no
/// quotes.
fn has_bare_text(line: &str) -> bool {
    let Some((_, value)) = line.split_once('=') else { return false };
    let value = value.trim();
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let is_other = ["true", "false"].contains(&value) || value.is_empty() || is_number;
    !is_other && value.starts_with(|first: char| first.is_alphanumeric() || "/.".contains(first))
}

/// Whether Kubernetes made this variable for a service that is called `fido-relay`, as it does in
/// every pod of the namespace: `FIDO_RELAY_SERVICE_HOST`, `FIDO_RELAY_PORT_8080_TCP_ADDR`, ….
fn is_kubernetes(rest: &str) -> bool {
    rest == "SERVICE_HOST"
        || rest == "SERVICE_PORT"
        || rest.starts_with("SERVICE_PORT_")
        || rest == "PORT"
        || rest
            .strip_prefix("PORT_")
            .is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit()))
}
