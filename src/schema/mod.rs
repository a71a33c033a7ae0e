//! What the relay publishes of its own interface: an OpenAPI 3.1 document of the HTTP calls and an
//! AsyncAPI 3 document of sockets, server-sent events and webhooks.
//!
//! Every schema in them is derived from the types in `proto` that the relay reads and writes with;
//! only paths, headers and what may be answered is said here. It must not know how a call is
//! served: `edge` publishes these documents, the command line prints them.

pub mod asyncapi;
mod components;
pub mod openapi;
mod portable;

#[cfg(test)]
mod tests;
