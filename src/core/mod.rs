//! The pure core: the rules of ceremonies, of device sessions and of prompt limits. No clock, no IO,
//! no tasks.

pub mod ceremony;
pub mod prompt_limits;
pub mod session;
