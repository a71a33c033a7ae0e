//! One device socket without the socket: handshake, budgets and heartbeat as a pure state machine.
//!
//! [`Session`] is told what came in and what time it is, and says what to do. It has no clock, no
//! IO, no log, and knows nothing of WebSocket libraries, devices or ceremonies. Times are
//! milliseconds of one monotonic clock, whatever its zero.
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
//! What is decided without looking into a frame (binary, too big, not UTF-8, bad framing) has its
//! own close code in every state. Everything that depends on what a frame says before the device
//! is known ends in the same 4401: whoever tries a proof learns nothing from how it fails.

mod budget;
mod close;
mod limits;
mod machine;
mod nonce;
#[cfg(test)]
mod tests;

pub use close::CloseReason;
pub use limits::{FrameBudget, Jitter, Limits};
pub use machine::{Action, AuthFailure, Session, Tick, error};
pub use nonce::Nonce;
