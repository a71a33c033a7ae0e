//! The wire, held still: whoever changes a frame, a body or the form of an id sees it here first.
//!
//! A snapshot that must change is a change of the public contract: an app in the field reads the
//! old form.

mod bodies;
mod frames;
mod ids;
mod mutated;
mod samples;
mod texts;
