//! The protocol of a device socket as a pure state machine: handshake, budgets and heartbeat.
//!
//! [`Session`] takes inputs with the time of each, and gives the actions to perform. It has no clock,
//! no IO, no log, and knows nothing of WebSocket libraries, devices or ceremonies. Times are
//! milliseconds of a monotonic clock.
//!
//! ```text
//!             hello               auth                    welcome
//!   accept ──────────▶ awaiting ───────▶ checking ───────────────────▶ live ◀─────────────┐
//!                         │                 │                           │ reauth          │ proof
//!                         │ 4408, 4401      │ 4408, 4401                ▼       auth      │ good
//!                         ▼                 ▼                        renewing ──────▶ rechecking
//!                       ended ◀──────────────────────────────────────── │ 4401 ────────── │
//! ```
//!
//! Faults that show without parsing a frame (binary, too big, not UTF-8, bad framing) have their own
//! close codes in every state. Before authentication, every fault in a frame's content ends in the
//! same 4401, so that a failed proof reveals nothing.

mod budget;
mod close;
mod limits;
mod machine;
mod nonce;
#[cfg(test)]
mod tests;

pub use close::CloseReason;
pub use limits::{FrameBudget, Jitter, SessionLimits};
pub use machine::{Action, AuthFailure, Session, Tick, error};
pub use nonce::Nonce;
