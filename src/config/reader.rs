//! Reads each key once, by type and bounds, and keeps the setting, its source and the errors. A key
//! that is not read is unknown.

use std::collections::BTreeMap;

use super::error::{ConfigError, Source};
use super::limit::{Limit, LimitValue};
use super::nearest::nearest_key;
use super::sources::{PREFIX, RawConfig, RawSetting};
use super::values::{Invalid, Value};

/// A key with the value in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The dotted key.
    pub key: &'static str,
    /// As TOML; `None`: not set.
    pub value: Option<String>,
    pub source: Source,
    /// Its bounds and documentation, if it is a limit.
    pub(super) limit: Option<Limit>,
}

impl Setting {
    /// The variable that sets the key.
    #[cfg(feature = "test-support")]
    #[must_use]
    pub fn variable(&self) -> String {
        variable(self.key)
    }
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// Reads keys from the merged sources.
#[derive(Debug)]
pub(super) struct ConfigReader {
    values: BTreeMap<String, (RawSetting, Source)>,
    settings: Vec<Setting>,
    errors: Vec<ConfigError>,
}

impl ConfigReader {
    pub(super) fn new(raw: RawConfig) -> Self {
        Self { values: raw.values, settings: Vec::new(), errors: raw.errors }
    }

    /// The value of a key, if it is given and valid.
    pub(super) fn optional<T: Value>(&mut self, key: &'static str) -> Option<T> {
        let (value, source) = self.parse(key);
        let shown = value.as_ref().map(T::to_toml);
        self.settings.push(Setting { key, value: shown, source, limit: None });
        value
    }

    /// The value of a key, or the default.
    pub(super) fn take<T: Value>(&mut self, key: &'static str, default: T) -> T {
        let (value, source) = self.parse(key);
        let value = value.unwrap_or(default);
        let shown = Some(value.to_toml());
        self.settings.push(Setting { key, value: shown, source, limit: None });
        value
    }

    /// The value of a limit within its bounds, or its default.
    pub(super) fn limit<T: LimitValue>(&mut self, limit: Limit) -> T {
        let (value, source) = self.parse(limit.key);
        let value = value.or(limit.default);
        let shown = value.as_ref().map(u64::to_toml);
        self.settings.push(Setting { key: limit.key, value: shown, source, limit: Some(limit) });
        if value.is_none_or(|value| (limit.min..=limit.max).contains(&value)) {
            return T::from_number(value);
        }
        self.reject(limit.key, format!("must be between {} and {}", limit.min, limit.max));
        limit.default_value()
    }

    /// Shows the value that is derived for an optional key that is not given.
    pub(super) fn derived<T: Value>(&mut self, key: &'static str, value: &T) {
        if let Some(setting) = self.settings.iter_mut().find(|setting| setting.key == key) {
            setting.value = Some(value.to_toml());
        }
    }

    /// Reports that the value of a key contradicts others, unless the key already has an error:
    /// then its value is not the one that the operator meant.
    pub(super) fn reject(&mut self, key: &str, text: impl Into<String>) {
        if self.errors.iter().any(|error| error.key.as_deref() == Some(key)) {
            return;
        }
        let setting = self.settings.iter().find(|setting| setting.key == key);
        let source = setting.map_or(Source::Default, |setting| setting.source.clone());
        self.errors.push(ConfigError::new(source, Some(key), text));
    }

    /// Whether the key is given, valid or not.
    pub(super) fn is_given(&self, key: &str) -> bool {
        let read = self.settings.iter().find(|setting| setting.key == key);
        self.values.contains_key(key) || read.is_some_and(|s| s.source != Source::Default)
    }

    /// The settings and the errors; keys that were not read are unknown.
    pub(super) fn finish(mut self) -> (Vec<Setting>, Vec<ConfigError>) {
        for (key, (_, source)) in std::mem::take(&mut self.values) {
            let text = self.why_unknown(&key, &source);
            self.errors.push(ConfigError::new(source, Some(&key), text));
        }
        (self.settings, self.errors)
    }

    /// The error text of an unknown key, with the known key that it resembles.
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
            RawSetting::Text(text) => T::from_text(text),
            RawSetting::Value(value) => T::from_toml(value),
        };
        match parsed {
            Ok(value) => (Some(value), source),
            Err(Invalid(must)) => {
                self.errors.push(ConfigError::new(source.clone(), Some(key), must));
                (None, source)
            }
        }
    }
}
