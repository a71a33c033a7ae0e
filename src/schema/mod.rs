//! The interface of the relay as data: the table of its operations, an OpenAPI 3.1 document of the
//! HTTP calls and an AsyncAPI 3 document of sockets, server-sent events and webhooks.
//!
//! Every schema in them is derived from the types in `proto` that the relay reads and writes with;
//! only paths, headers and possible answers are described here. It must not know how a call is
//! served: `edge` makes its router from the table and publishes the documents, and the command line
//! prints them.

pub mod asyncapi;
mod components;
pub mod openapi;
pub mod operations;
mod portable;

#[cfg(test)]
mod tests;
