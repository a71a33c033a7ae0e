//! `fido-relay demo`: the whole loop on one machine.

pub mod bank;
pub mod initiator;
pub mod narrate;
pub mod result_token;
pub mod site;
pub mod web;
pub mod words;
