//! HTTP and sockets: where the world comes in.
