//! Reads a body or a query into its type, and names the field of one that does not fit, with what
//! that field takes.
//!
//! Serde's messages repeat input (``unknown field `…` ``, `invalid type: string "…"`), and no
//! answer of the relay does. A text that serde refuses is therefore read a second time, with an
//! error type that keeps only what the request's type declares: field names, enum values and
//! bounds.

use std::fmt::Display;

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use fido_relay_proto::limits::{JSON_DEPTH, JSON_KEYS};
use fido_relay_proto::shape::{self, ShapeError};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Value;
use serde_json::error::Category;

use super::problem_response::ProblemResponse;

/// Reads a JSON object.
///
/// # Errors
/// 400, with the RFC 6901 pointer of the first field that does not fit.
pub(in crate::edge) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ProblemResponse> {
    // serde also fills a struct from an array; a body is an object.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(ProblemResponse::invalid("the body must be a JSON object"));
    }
    hold_to_shape(bytes, JSON_KEYS)?;
    serde_json::from_slice(bytes)
        .map_err(|error| ProblemResponse::invalid(explain::<T>(bytes, &error)))
}

/// Holds a JSON text to its bounds before anything parses it.
///
/// # Errors
/// 400, with the bound that it breaks.
pub(super) fn hold_to_shape(bytes: &[u8], max_keys: usize) -> Result<(), ProblemResponse> {
    shape::check(bytes, JSON_DEPTH, max_keys).map_err(|error| {
        ProblemResponse::invalid(match error {
            ShapeError::TooDeep => format!("the body may be nested {JSON_DEPTH} levels deep"),
            ShapeError::TooManyKeys => format!("the body may have {max_keys} keys"),
        })
    })
}

fn explain<T: DeserializeOwned>(bytes: &[u8], refused: &serde_json::Error) -> String {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => match T::deserialize(RequestValue::Json(&value)) {
            Err(error) => error.to_text("", "/"),
            // A `Value` keeps the last of two fields with the same name.
            Ok(_) => format!(
                "a field is given twice at line {} column {}",
                refused.line(),
                refused.column()
            ),
        },
        // These messages are a fixed set.
        Err(error) if matches!(error.classify(), Category::Syntax | Category::Eof) => {
            format!("not JSON: {error}")
        }
        Err(_) => "not JSON".to_owned(),
    }
}

/// Reads the query of a URL.
///
/// # Errors
/// 400, with the first parameter that does not fit.
pub(in crate::edge) fn from_query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ProblemResponse> {
    let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let pairs: Vec<_> = pairs.collect();
    let entries = pairs.iter().map(|(name, value)| (&**name, RequestValue::Text(value)));
    T::deserialize(MapAccessDeserializer::new(Entries { entries, value: None }))
        .map_err(|error| ProblemResponse::invalid(error.to_text("query", " ")))
}

/// The query of a request as a `T`.
#[derive(Debug)]
pub(in crate::edge) struct QueryOf<T>(pub(in crate::edge) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryOf<T> {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ProblemResponse> {
        from_query(&parts.uri).map(Self)
    }
}

/// Why a value is not of its type, without a word of the value.
#[derive(Debug)]
struct FieldError {
    /// Names of fields and numbers of list entries, the innermost first. A name is there only if
    /// the type has a field of it: values of unknown fields are not looked at.
    path: Vec<String>,
    /// What is allowed there, or what is wrong.
    what: String,
}

impl FieldError {
    fn of(what: impl Into<String>) -> Self {
        Self { path: Vec::new(), what: what.into() }
    }

    fn under(mut self, segment: impl Into<String>) -> Self {
        self.path.push(segment.into());
        self
    }

    /// What the request's author reads: the place, as `start` and the path with `separator` before
    /// each segment, and what is wrong there.
    fn to_text(&self, start: &str, separator: &str) -> String {
        let mut place = start.to_owned();
        for segment in self.path.iter().rev() {
            place.push_str(separator);
            place.push_str(segment);
        }
        if place.is_empty() { self.what.clone() } else { format!("{place}: {}", self.what) }
    }
}

/// What a visitor expects, in words that are not Rust's.
fn expects(expected: &dyn Expected) -> FieldError {
    let text = expected.to_string();
    FieldError::of(match text.as_str() {
        "u8" | "u16" | "u32" | "u64" => "a whole number",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "a map" => "an object",
        name if name.starts_with("struct ") => "an object",
        other => other,
    })
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_text("", "/"))
    }
}

impl std::error::Error for FieldError {}

impl Error for FieldError {
    /// From the types of `proto`, whose errors never repeat a text.
    fn custom<T: Display>(message: T) -> Self {
        Self::of(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        expects(expected)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        expects(expected)
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        expects(expected)
    }

    fn unknown_variant(_: &str, variants: &'static [&'static str]) -> Self {
        Self::of(format!("one of {}", variants.join(", ")))
    }

    fn unknown_field(_: &str, fields: &'static [&'static str]) -> Self {
        Self::of(format!("unknown field; known: {}", fields.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::of("missing").under(field)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::of("given twice").under(field)
    }
}

/// A value of a request.
#[derive(Clone, Copy)]
enum RequestValue<'a> {
    Json(&'a Value),
    /// Of a query, where a number is written as text too.
    Text(&'a str),
}

impl RequestValue<'_> {
    /// An integer, as JSON or as text.
    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self {
            Self::Text(text) => match text.parse() {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => Err(expects(&visitor)),
            },
            Self::Json(_) => self.deserialize_any(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for RequestValue<'_> {
    type Error = FieldError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        let value = match self {
            Self::Text(text) => return visitor.visit_str(text),
            Self::Json(value) => value,
        };
        match value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::String(text) => visitor.visit_str(text),
            Value::Number(number) => {
                if let Some(number) = number.as_u64() {
                    visitor.visit_u64(number)
                } else if let Some(number) = number.as_i64() {
                    visitor.visit_i64(number)
                } else {
                    visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN))
                }
            }
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Value::Object(map) => {
                let entries =
                    map.iter().map(|(name, value)| (name.as_str(), RequestValue::Json(value)));
                visitor.visit_map(Entries { entries, value: None })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self {
            Self::Json(Value::Null) => visitor.visit_none(),
            Self::Json(_) | Self::Text(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        match self {
            Self::Json(Value::Object(_)) => self.deserialize_any(visitor),
            Self::Json(_) | Self::Text(_) => Err(expects(&visitor)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        match self {
            Self::Json(Value::String(text)) => visitor.visit_enum(variant(text)),
            Self::Text(text) => visitor.visit_enum(variant(text)),
            Self::Json(_) => Err(FieldError::unknown_variant("", variants)),
        }
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.integer(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.integer(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.integer(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}

/// The name of an enum's value: the requests have no other enums.
fn variant<'de>(name: &str) -> impl EnumAccess<'de, Error = FieldError> {
    let name: StrDeserializer<'_, FieldError> = name.into_deserializer();
    name
}

/// The entries of a list.
struct Items<I> {
    items: I,
}

impl<'de, 'a, I: Iterator<Item = (usize, &'a Value)>> SeqAccess<'de> for Items<I> {
    type Error = FieldError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, FieldError> {
        let Some((index, value)) = self.items.next() else { return Ok(None) };
        let read = seed.deserialize(RequestValue::Json(value));
        read.map(Some).map_err(|error| error.under(index.to_string()))
    }
}

/// The fields of an object or the parameters of a query.
struct Entries<'a, I> {
    entries: I,
    /// What follows the name that was given last.
    value: Option<(&'a str, RequestValue<'a>)>,
}

impl<'de, 'a, I: Iterator<Item = (&'a str, RequestValue<'a>)>> MapAccess<'de> for Entries<'a, I> {
    type Error = FieldError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, FieldError> {
        let Some((name, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((name, value));
        let name: StrDeserializer<'_, FieldError> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, FieldError> {
        let (name, value) = self.value.take().ok_or_else(|| FieldError::of("malformed"))?;
        seed.deserialize(value).map_err(|error| error.under(name))
    }
}
