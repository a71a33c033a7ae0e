//! What handlers take from a request: the caller, the body, the origin of a page, the host.

pub(super) mod authority;
pub(super) mod body;
pub(super) mod caller;
pub(super) mod origin;
