//! fido
