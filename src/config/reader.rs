//! Takes each key once, by type and bounds, and remembers what is in effect, where it came from
//! and what is wrong. A key that nobody takes is unknown.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::limit::{Limit, LimitValue};
use super::nearest::nearest_key;
use super::sources::{Given, PREFIX, Raw};
use super::values::{Invalid, Value};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody gave it.
    Default,
    /// The file.
    File {
        /// Which.
        path: PathBuf,
        /// Its line, counted from 1.
        line: Option<usize>,
    },
    /// A variable of this name.
    Variable(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong, and where. The text never repeats a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub source: Source,
    /// The key, if it is about one.
    pub key: Option<String>,
    /// What is wrong.
    pub text: String,
}

impl Mistake {
    pub(super) fn new(source: Source, key: Option<&str>, text: impl Into<String>) -> Self {
        Self { source, key: key.map(str::to_owned), text: text.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source != Source::Default {
            write!(f, "{}: ", self.source)?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.text)
    }
}

/// Everything that is wrong; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the configuration has {}:",
            match self.0.len() {
                1 => "a mistake".to_owned(),
                many => format!("{many} mistakes"),
            }
        )?;
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A key with the value in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The dotted key.
    pub key: &'static str,
    /// Its value as TOML; `None` if it has none.
    pub value: Option<String>,
    /// Where it came from.
    pub source: Source,
    /// Its bounds and documentation, if it is a limit.
    pub(super) limit: Option<Limit>,
}

impl Setting {
    /// The variable that sets the key.
    #[must_use]
    pub fn variable(&self) -> String {
        variable(self.key)
    }
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// Takes keys from what was given.
#[derive(Debug)]
pub(super) struct Reader {
    values: BTreeMap<String, (Raw, Source)>,
    settings: Vec<Setting>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    pub(super) fn new(given: Given) -> Self {
        Self { values: given.values, settings: Vec::new(), mistakes: given.mistakes }
    }

    /// The key's value, if one was given and is right.
    pub(super) fn optional<T: Value>(&mut self, key: &'static str) -> Option<T> {
        let (value, source) = self.parse(key);
        let shown = value.as_ref().map(T::to_toml);
        self.settings.push(Setting { key, value: shown, source, limit: None });
        value
    }

    /// The key's value, or the default.
    pub(super) fn take<T: Value>(&mut self, key: &'static str, default: T) -> T {
        let (value, source) = self.parse(key);
        let value = value.unwrap_or(default);
        let shown = Some(value.to_toml());
        self.settings.push(Setting { key, value: shown, source, limit: None });
        value
    }

    /// The limit's value, if one was given within its bounds, or its default.
    pub(super) fn limit<T: LimitValue>(&mut self, limit: Limit) -> T {
        let (value, source) = self.parse(limit.key);
        let value = value.or(limit.default);
        let shown = value.as_ref().map(u64::to_toml);
        self.settings.push(Setting { key: limit.key, value: shown, source, limit: Some(limit) });
        if value.is_none_or(|value| (limit.min..=limit.max).contains(&value)) {
            return T::from_number(value);
        }
        self.wrong(limit.key, format!("must be between {} and {}", limit.min, limit.max));
        T::from_number(limit.default)
    }

    /// Shows what an optional key comes to when nobody gave it.
    pub(super) fn derived<T: Value>(&mut self, key: &'static str, value: &T) {
        if let Some(setting) = self.settings.iter_mut().find(|setting| setting.key == key) {
            setting.value = Some(value.to_toml());
        }
    }

    /// Notes that the key's value does not go together with others, unless something is already
    /// wrong with it: then it is not what the operator meant.
    pub(super) fn wrong(&mut self, key: &str, text: impl Into<String>) {
        if self.mistakes.iter().any(|mistake| mistake.key.as_deref() == Some(key)) {
            return;
        }
        let setting = self.settings.iter().find(|setting| setting.key == key);
        let source = setting.map_or(Source::Default, |setting| setting.source.clone());
        self.mistakes.push(Mistake::new(source, Some(key), text));
    }

    /// Whether somebody gave the key, rightly or not.
    pub(super) fn is_given(&self, key: &str) -> bool {
        let taken = self.settings.iter().find(|setting| setting.key == key);
        self.values.contains_key(key) || taken.is_some_and(|s| s.source != Source::Default)
    }

    /// What is in effect and what is wrong; keys that were not taken are unknown.
    pub(super) fn finish(mut self) -> (Vec<Setting>, Vec<Mistake>) {
        for (key, (_, source)) in std::mem::take(&mut self.values) {
            let text = self.why_unknown(&key, &source);
            self.mistakes.push(Mistake::new(source, Some(&key), text));
        }
        (self.settings, self.mistakes)
    }

    /// What is wrong with an unknown key, with the known one that it resembles.
    fn why_unknown(&self, key: &str, source: &Source) -> String {
        let known: Vec<_> = self.settings.iter().map(|setting| setting.key).collect();
        let within: Vec<_> =
            known.iter().filter_map(|known| known.strip_prefix(key)?.strip_prefix('.')).collect();
        if !within.is_empty() {
            return format!("is a table, not a value: it has {}", within.join(", "));
        }
        let Some(meant) = nearest_key(key, &known) else {
            return "is not a known key; docs/configuration.md has them all".to_owned();
        };
        let Source::Variable(given) = source else {
            return format!("is not a known key; did you mean {meant}?");
        };
        let meant = variable(meant);
        // Two names that differ in the number of underscores alone look the same.
        let why = if meant.replace("__", "_") == given.replace("__", "_") {
            " (two underscores for each dot)"
        } else {
            ""
        };
        format!("is not a known key; did you mean {meant}{why}?")
    }

    fn parse<T: Value>(&mut self, key: &'static str) -> (Option<T>, Source) {
        let Some((raw, source)) = self.values.remove(key) else { return (None, Source::Default) };
        let parsed = match &raw {
            Raw::Text(text) => T::from_text(text),
            Raw::Value(value) => T::from_toml(value),
        };
        match parsed {
            Ok(value) => (Some(value), source),
            Err(Invalid(must)) => {
                self.mistakes.push(Mistake::new(source.clone(), Some(key), must));
                (None, source)
            }
        }
    }
}
