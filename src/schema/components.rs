//! The schemas of a document, each once under its name.
//!
//! What the relay takes and what it gives are two readings of a type (JSON Schema speaks of one
//! value, serde of two directions): a request refuses unknown fields and may leave out what has a
//! default; an answer may gain fields in a later version and says nothing by `null`. A type that
//! reads the same both ways stands under its name; one that does not must not be used both ways,
//! and [`Components::finish`] says so.

use fido_relay_proto::schemars::generate::{SchemaGenerator, SchemaSettings};
use fido_relay_proto::schemars::transform::RecursiveTransform;
use fido_relay_proto::schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::portable::portable;

/// Where both kinds of document keep their schemas (OpenAPI 3.1 section 4.8.7, AsyncAPI 3.0
/// `components.schemas`).
const PATH: &str = "/components/schemas";

/// Collects schemas while a document is made.
#[derive(Debug)]
pub(super) struct Components {
    taken: SchemaGenerator,
    given: SchemaGenerator,
    written: Map<String, Value>,
}

impl Components {
    pub(super) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = PATH.into();
            })
        };
        let given = settings().for_serialize().with_transform(RecursiveTransform(open));
        let (taken, given) = (settings().into_generator(), given.into_generator());
        Self { taken, given, written: Map::new() }
    }

    /// A reference to the schema of what the relay reads as `T`.
    pub(super) fn takes<T: JsonSchema>(&mut self) -> Value {
        self.taken.subschema_for::<T>().to_value()
    }

    /// A reference to the schema of what the relay writes as `T`.
    pub(super) fn gives<T: JsonSchema>(&mut self) -> Value {
        self.given.subschema_for::<T>().to_value()
    }

    /// A reference to a schema that no type has.
    pub(super) fn named(&mut self, name: &str, schema: Value) -> Value {
        self.written.insert(name.to_owned(), schema);
        json!({ "$ref": format!("#{PATH}/{name}") })
    }

    /// All schemas that were referred to, by name.
    ///
    /// # Panics
    /// If a type is used both ways and reads differently; the tests make every document.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        let mut schemas = self.taken.take_definitions(true);
        for (name, schema) in self.given.take_definitions(true) {
            if let Some(taken) = schemas.get(&name) {
                assert_eq!(*taken, schema, "{name} is taken and given, and reads differently");
            }
            schemas.insert(name, schema);
        }
        schemas.extend(self.written);
        schemas.values_mut().for_each(portable);
        schemas
    }
}

/// Answers may gain fields, and what has no value is left out of them.
fn open(schema: &mut Schema) {
    schema.remove("additionalProperties");
    if let Some(Value::Array(kinds)) = schema.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_mut_slice() {
            let only = only.take();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
        any.retain(|each| each.get("type").is_none_or(|kind| kind != "null"));
        if let [only] = any.as_mut_slice()
            && let Value::Object(only) = only.take()
        {
            schema.remove("anyOf");
            for (key, value) in only {
                // The field's description has precedence over its type's.
                if schema.get(&key).is_none() {
                    schema.insert(key, value);
                }
            }
        }
    }
}
