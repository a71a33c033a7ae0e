//! Values in text for people and logs, by the names that they have on the wire.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// Displays an enum's variant as JSON has it: `Outcome::Succeeded` as `succeeded`. What is no JSON
/// string displays as `-`.
#[derive(Clone, Copy, Debug)]
pub struct WireName<T>(pub T);

impl<T: Serialize> fmt::Display for WireName<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match serde_json::to_value(&self.0) {
            Ok(Value::String(name)) => f.write_str(&name),
            Ok(_) | Err(_) => f.write_str("-"),
        }
    }
}
