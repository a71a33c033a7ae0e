//! A number that an operator may set within bounds. [`limits!`] declares each once: its line makes
//! the field of a struct, the reader, the row of `docs/configuration.md` and the warning. After a
//! change `UPDATE_DOCS=1 cargo test --lib every_key_is_documented` writes the rows anew.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A setting that makes this relay weaker than it could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weakness {
    pub key: &'static str,
    pub text: &'static str,
    pub remedy: &'static str,
}

impl std::fmt::Display for Weakness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; better: {}", self.key, self.text, self.remedy)
    }
}

/// A key with a number, its bounds, and the value above which it is weak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) key: &'static str,
    /// `None`: not set.
    pub(super) default: Option<u64>,
    pub(super) min: u64,
    pub(super) max: u64,
    /// The highest value without a warning, and the warning.
    pub(super) weakness: Option<(u64, Weakness)>,
    /// The lines of the field's documentation.
    doc: &'static [&'static str],
}

impl Limit {
    pub(super) const fn new(key: &'static str, default: u64, bounds: RangeInclusive<u64>) -> Self {
        Self { default: Some(default), ..Self::unset(key, bounds) }
    }

    /// A limit that is off unless it is given.
    pub(super) const fn unset(key: &'static str, bounds: RangeInclusive<u64>) -> Self {
        let (min, max) = (*bounds.start(), *bounds.end());
        Self { key, default: None, min, max, weakness: None, doc: &[] }
    }

    /// Allowed and weak above this value.
    pub(super) const fn weak_above(self, safe: u64, text: &'static str) -> Self {
        let remedy = "the default, or measure first";
        Self { weakness: Some((safe, Weakness { key: self.key, text, remedy })), ..self }
    }

    /// What to set instead of a weak value, where it is not for the operator to measure.
    pub(super) const fn better(self, remedy: &'static str) -> Self {
        match self.weakness {
            Some((safe, weakness)) => {
                Self { weakness: Some((safe, Weakness { remedy, ..weakness })), ..self }
            }
            None => self,
        }
    }

    pub(super) const fn documented(self, doc: &'static [&'static str]) -> Self {
        Self { doc, ..self }
    }

    pub(super) fn default_value<T: LimitValue>(self) -> T {
        T::from_number(self.default)
    }

    /// The warning about a value, if it is weak.
    pub(super) fn weakness_of(self, number: Option<u64>) -> Option<Weakness> {
        let (safe, weakness) = self.weakness?;
        (number? > safe).then_some(weakness)
    }

    /// What a row of `docs/configuration.md` says of it: the bounds, and the field's documentation
    /// as a phrase.
    #[cfg(test)]
    pub(super) fn described(self) -> (String, String) {
        let doc = self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let doc = doc.strip_suffix('.').unwrap_or(&doc);
        let (first, rest) = doc.split_at(1);
        let bounds = format!("{}–{}", grouped(self.min), grouped(self.max));
        (bounds, format!("{}{rest}", first.to_lowercase()))
    }
}

/// A number with a comma before each three digits.
#[cfg(test)]
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// A type that a limit's field can have. A duration is given in seconds.
pub(super) trait LimitValue {
    fn from_number(number: Option<u64>) -> Self;
    fn number(&self) -> Option<u64>;
}

macro_rules! integers {
    ($($type:ty),+) => {$(
        impl LimitValue for $type {
            fn from_number(number: Option<u64>) -> Self {
                Self::try_from(number.unwrap_or_default()).unwrap_or(Self::MAX)
            }

            fn number(&self) -> Option<u64> {
                u64::try_from(*self).ok()
            }
        }
    )+};
}

integers!(u8, u32, u64, usize);

impl LimitValue for Duration {
    fn from_number(number: Option<u64>) -> Self {
        Self::from_secs(number.unwrap_or_default())
    }

    fn number(&self) -> Option<u64> {
        Some(self.as_secs())
    }
}

impl LimitValue for Option<u64> {
    fn from_number(number: Self) -> Self {
        number
    }

    fn number(&self) -> Self {
        *self
    }
}

/// A struct of limits: for each field its documentation, its type and its [`Limit`]. Fields after
/// `and` are read by a function of their own.
macro_rules! limits {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])+ $field:ident: $type:ty = $limit:expr;)+
            $(and {$($(#[$other_meta:meta])+ $other:ident: $other_type:ty = $read:expr;)+})?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)+
            $($($(#[$other_meta])+ pub $other: $other_type,)+)?
        }

        impl $name {
            #[cfg(feature = "test-support")]
            pub(super) const LIMITS: &'static [Limit] = &[$($limit.documented(&[$($doc),+])),+];

            pub(super) fn read(reader: &mut ConfigReader) -> Self {
                Self {
                    $($field: reader.limit($limit.documented(&[$($doc),+])),)+
                    $($($other: $read(reader),)+)?
                }
            }

            /// The warnings about limits that were raised.
            pub(super) fn weaknesses(&self) -> impl Iterator<Item = Weakness> {
                [$($limit.weakness_of(LimitValue::number(&self.$field))),+].into_iter().flatten()
            }
        }
    };
}

pub(super) use limits;
