//! What tries a relay out: the simulated phone and card, and the command around them.
//!
//! Everything here stands on the other side of the wire. It must not know the relay's crate: it
//! speaks the published interfaces, as any app or backend could.

mod command;
pub mod phone;
pub mod phone_command;
pub mod softcard;

pub use command::Failure;
