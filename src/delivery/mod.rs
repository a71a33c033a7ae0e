//! Which device is shown what.

pub(crate) mod connection;
pub(crate) mod frame_source;
pub(crate) mod notices;
pub(crate) mod prompts;
pub(crate) mod pull;
pub(crate) mod registry;
pub(crate) mod sockets;
pub(crate) mod wakes;
pub(crate) mod watchers;

pub use self::connection::{Connection, Next, OUTBOX_BYTES, Outgoing, Owner};
pub use self::pull::PullOrder;
pub use self::registry::Registry;
pub use self::watchers::{Watch, Watchers};
