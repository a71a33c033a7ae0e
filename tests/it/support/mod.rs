//! What the tests stand on.

pub(crate) mod fido2_server;
pub(crate) mod needs;
pub(crate) mod relay;
pub(crate) mod scripted_upstream;
