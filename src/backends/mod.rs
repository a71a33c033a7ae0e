//! The outside world behind the ports. Each backend knows its own library and nobody else: not
//! the relay, not the edge, not one another.

pub mod embedded;
pub mod fido_builtin;
pub mod fido_http;
pub mod push;
pub mod webhook_http;
