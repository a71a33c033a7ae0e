//! What tries a relay out: the simulated phone and card with their command, the demo, and the bench.
//!
//! The rig is the other side of the wire. It must not know the relay's crate: it uses the published
//! interfaces and the command line, as an app, a backend or an operator does. What they do not offer
//! is the trait [`RelayHost`].

pub mod bench;
mod command;
pub mod demo;
mod host;
pub mod phone;
pub mod phone_command;
mod scratch;
pub mod softcard;

pub use command::Failure;
pub use host::{HostError, HostedRelay, RelayHost};
pub use secrecy::SecretString;
