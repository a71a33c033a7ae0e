//! Implementations of the ports. Each backend knows its own library, and neither the relay, the edge
//! nor another backend.

pub mod embedded;
pub mod fido_builtin;
pub mod fido_http;
mod outbound;
pub mod push;
pub mod webhook_http;
