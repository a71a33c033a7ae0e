//! The built-in FIDO2 server.
