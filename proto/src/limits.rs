//! Bounds that both ends of the wire must know.

/// Seconds that a ceremony lives when the initiator says nothing.
pub const CEREMONY_DEFAULT_S: u64 = 120;
/// Fewest seconds a ceremony may live: time to take out a card.
pub const CEREMONY_MIN_S: u64 = 30;
/// Most seconds a ceremony may live; NIST SP 800-63B-4 voids a transferred code after 10 minutes.
pub const CEREMONY_MAX_S: u64 = 600;
/// Digits of the code that a person carries from the page to the app (NIST SP 800-63B-4).
pub const CODE_DIGITS: u8 = 6;
/// Wrong codes after which a ceremony closes.
pub const CODE_ATTEMPTS: u8 = 3;
/// Longest `wait` of a long poll, in seconds.
pub const WAIT_MAX_S: u64 = 55;
/// Bytes of one frame before the device has authenticated.
pub const FRAME_BEFORE_AUTH: usize = 2 * 1024;
/// Bytes of one frame of an authenticated device.
pub const FRAME_AFTER_AUTH: usize = 32 * 1024;
/// Bytes of one HTTP request body.
pub const HTTP_BODY: usize = 64 * 1024;
/// Nesting of arrays and objects in any JSON text from outside.
pub const JSON_DEPTH: usize = 8;
/// Object keys in any JSON text from outside.
pub const JSON_KEYS: usize = 64;
/// Object keys in a FIDO2 server's options object.
pub const JSON_OPTIONS_KEYS: usize = 256;
/// Fields of a transaction.
pub const TRANSACTION_FIELDS: usize = 16;
/// The device socket's subprotocol.
pub const DEVICE_SUBPROTOCOL: &str = "fido-relay.v1";

/// Seconds for which an earlier webhook key may sign beside a new one.
pub const WEBHOOK_OLD_KEYS_MAX_S: u64 = 30 * 24 * 60 * 60;
/// Bytes of a webhook endpoint's URL.
pub const WEBHOOK_URL: usize = 1024;
/// The watchers' socket's subprotocol.
pub const WATCH_SUBPROTOCOL: &str = "fido-relay.watch.v1";
/// What a page puts before its ticket among the subprotocols that it offers: a browser's socket
/// has no other place for it.
pub const TICKET_SUBPROTOCOL: &str = "ticket.";
