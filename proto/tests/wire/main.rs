//! The wire, held still: whoever changes a frame, a body or the form of an id sees it here first.
//!
//! A snapshot that must change is a change of the public contract: an app in the field reads the
//! old form.

// clippy.toml allows it in test functions alone, not in what they stand on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects and fails on the rest"
)]

mod bodies;
mod frames;
mod ids;
mod mutated;
mod samples;
mod texts;
mod typed_codes;
mod typescript;
mod watch;
mod webhooks;
