//! The demo: its bank against a relay that follows a script, its page in a real browser, and the
//! command as a whole.

pub(crate) mod audit;
mod bank;
pub(crate) mod browser;
mod command;
mod focus;
mod out_of_reach;
mod page;
mod scene;
mod scripted_relay;
mod signals;
mod tabs;
mod voice;
