//! The device socket among hostile peers.
