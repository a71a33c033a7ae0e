//! The wire of fido-relay: what mobile apps, initiators and pages exchange with the relay.
//!
//! Ids, device frames, HTTP bodies, outcomes and error codes live here as plain serde types, so
//! that a client in Rust can depend on this crate alone. It knows nothing of async, HTTP
//! libraries or storage, draws no randomness and reads no clock.

pub mod device;
pub mod http;
pub mod ids;
pub mod life;
pub mod limits;
mod number;
mod object;
pub mod problem;
#[cfg(feature = "schema")]
mod schema;
pub mod shape;
pub mod text;
pub mod timestamp;
pub mod typed_code;
pub mod typed_digits;
pub mod watch;
pub mod webhook;
mod wire_name;

pub use device::{DeviceFrame, RelayFrame};
pub use ids::{
    AttemptId, CardId, CeremonyId, ClientId, ConnectionId, DeviceId, EventId, NodeId, NoticeId,
    TenantId, WebhookId,
};
pub use life::{Binding, CeremonyType, Outcome, Phase, Reason, SameNetwork, Step};
pub use problem::{Problem, ProblemCode};
pub use text::{BrowserSecret, ClientNonce, DisplayName, Message, PlainText, Username};
pub use timestamp::UnixMillis;
pub use typed_code::TypedCode;
pub use wire_name::WireName;

/// The crate that derives the schemas, for generators of documents.
#[cfg(feature = "schema")]
pub use schemars;
