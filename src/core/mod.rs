//! The rules of a ceremony, of a device's session and of prompts, as pure functions: no clock, no
//! IO, no tasks.

pub mod ceremony;
pub mod prompt_limits;
pub mod session;
