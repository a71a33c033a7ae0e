//! What the relay and the rig both need of the machine beneath them: tasks with an owner, the clock,
//! randomness, signals, and the certificate authorities that are trusted here.
//!
//! It must not know ceremonies, stores, servers or the command line: of the wire it uses the type of
//! a time alone.

pub mod clock;
pub mod random;
pub mod signals;
pub mod tasks;
pub mod trust;
