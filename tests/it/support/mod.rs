//! What the tests stand on.

pub(crate) mod agreeable;
pub(crate) mod bare_relay;
pub(crate) mod child_relay;
pub(crate) mod fido2_server;
pub(crate) mod needs;
pub(crate) mod origins;
pub(crate) mod paper_relay;
pub(crate) mod raw_socket;
pub(crate) mod relay;
pub(crate) mod scene;
pub(crate) mod scripted_upstream;
pub(crate) mod wire_phone;
