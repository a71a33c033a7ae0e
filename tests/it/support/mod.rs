//! What the tests stand on.

pub(crate) mod scripted_upstream;
