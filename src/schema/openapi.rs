//! The OpenAPI 3.1 document of the HTTP interface.

use serde_json::{Value, json};

use super::components::Components;

/// The document.
#[must_use]
pub fn document() -> Value {
    let components = Components::new();
    json!({
        "openapi": "3.1.0",
        "info": { "title": "fido-relay", "version": env!("CARGO_PKG_VERSION") },
        "paths": {},
        "components": { "schemas": components.finish() },
    })
}
