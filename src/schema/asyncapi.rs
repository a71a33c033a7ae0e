//! The AsyncAPI 3.0 document of sockets, server-sent events and webhooks.

use fido_relay_proto::{DeviceFrame, RelayFrame};
use serde_json::{Value, json};

use super::components::Components;

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut components = Components::new();
    components.gives::<RelayFrame>();
    components.takes::<DeviceFrame>();
    json!({
        "asyncapi": "3.0.0",
        "info": { "title": "fido-relay", "version": env!("CARGO_PKG_VERSION") },
        "channels": {},
        "components": { "schemas": components.finish() },
    })
}
