//! The HTTP handlers, one file per noun. A handler parses, asks `app` or `relay`, and answers.

pub(super) mod cards;
pub(super) mod ceremonies;
pub(super) mod certify;
pub(super) mod device_keys;
pub(super) mod devices;
pub(super) mod documents;
pub(super) mod pairings;
pub(super) mod pull;
pub(super) mod pull_call;
pub(super) mod receipts;
pub(super) mod status;
pub(super) mod token;
pub(super) mod users;
pub(super) mod webhooks;
