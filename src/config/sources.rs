//! The sources: file and variables, flattened to dotted keys, the later over the earlier. Only
//! TOML's own grammar is interpreted here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::error::{ConfigError, Source};

/// Prefix of every variable.
pub(super) const PREFIX: &str = "FIDO_RELAY_";
/// The path of the file; not a key.
const FILE_VARIABLE: &str = "FIDO_RELAY_CONFIG";

/// A value before it is parsed.
#[derive(Clone, Debug)]
pub(super) enum RawSetting {
    /// Text of a variable, of any type.
    Text(String),
    /// Value of the file, which has a TOML type.
    Value(toml::Value),
}

/// The merged sources and the errors in them.
#[derive(Debug, Default)]
pub(super) struct RawConfig {
    pub(super) values: BTreeMap<String, (RawSetting, Source)>,
    pub(super) errors: Vec<ConfigError>,
}

impl RawConfig {
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
            // The parser guesses how to continue after an error, so its further errors of a line
            // mislead.
            if !broken.insert(line) {
                continue;
            }
            let source = Source::File { path: path.to_owned(), line: Some(line) };
            let message = if has_bare_text(text.lines().nth(line - 1).unwrap_or_default()) {
                "text must be in double quotes"
            } else {
                error.message()
            };
            self.errors.push(ConfigError::new(source, None, message));
        }
        let known = self.errors.len();
        self.add_table("", document.into_inner(), &place);
        let is_broken = |source: &Source| {
            matches!(source, Source::File { path: of, line: Some(line) }
                if of == path && broken.contains(line))
        };
        let further = self.errors.split_off(known);
        self.errors.extend(further.into_iter().filter(|error| !is_broken(&error.source)));
        self.values.retain(|_, (_, source)| !is_broken(source));
    }

    /// Adds the error of a file that cannot be read.
    pub(super) fn add_unreadable(&mut self, path: &Path, error: &std::io::Error) {
        let source = Source::File { path: path.to_owned(), line: None };
        self.errors.push(ConfigError::new(source, None, format!("cannot be read: {error}")));
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
                Ok(value) => drop(self.values.insert(key, (RawSetting::Value(value), source))),
                Err(error) => {
                    self.errors.push(ConfigError::new(source, Some(&key), error.message()));
                }
            }
        }
    }

    /// Adds the relay's variables, over the keys of the file.
    pub(super) fn add_variables(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) {
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            // Compose files and shells write "not set" as an empty value.
            if value.is_empty()
                || name == FILE_VARIABLE
                || is_kubernetes_variable(rest)
                || is_client_variable(rest)
            {
                continue;
            }
            let source = Source::Variable(name.to_owned());
            let key = rest.to_ascii_lowercase().replace("__", ".");
            match value.into_string() {
                Ok(text) => drop(self.values.insert(key, (RawSetting::Text(text), source))),
                Err(_) => self.errors.push(ConfigError::new(source, None, "must be UTF-8")),
            }
        }
    }
}

/// Whether the variable belongs to programs that call the relay (examples, client packages and
/// their tests). Such variables may be set in the terminal where the relay is started.
fn is_client_variable(rest: &str) -> bool {
    matches!(rest, "API_KEY" | "URL" | "ISSUER" | "PROGRAM") || rest.starts_with("TEST_")
}

/// Whether a line of the file has a value that looks like text or an address without quotes.
fn has_bare_text(line: &str) -> bool {
    let Some((_, value)) = line.split_once('=') else { return false };
    let value = value.trim();
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let is_other = ["true", "false"].contains(&value) || value.is_empty() || is_number;
    !is_other && value.starts_with(|first: char| first.is_alphanumeric() || "/.".contains(first))
}

/// Whether Kubernetes set this variable, as it does for a service named `fido-relay` in every pod
/// of the namespace: `FIDO_RELAY_SERVICE_HOST`, `FIDO_RELAY_PORT_8080_TCP_ADDR`, ….
fn is_kubernetes_variable(rest: &str) -> bool {
    rest == "SERVICE_HOST"
        || rest == "SERVICE_PORT"
        || rest.starts_with("SERVICE_PORT_")
        || rest == "PORT"
        || rest
            .strip_prefix("PORT_")
            .is_some_and(|port| port.starts_with(|c: char| c.is_ascii_digit()))
}
