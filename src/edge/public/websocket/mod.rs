//! What both sockets share: the handshake, the checks of incoming frames, the closing handshake.

pub(super) mod closing;
pub(super) mod frame_guard;
pub(super) mod handshake;
