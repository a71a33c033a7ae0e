//! One ceremony as a pure state machine.
//!
//! [`Ceremony::step`] takes the time and an [`Event`] and gives the next state, a [`Reply`] to the
//! event's source, the [`Fact`]s that happened (the record keeps them, too), and the [`Effect`] to
//! perform once the new state is stored. The prompt on each of the user's devices follows from the
//! state alone ([`Ceremony::prompt_for`]). There is no clock, no IO and no log here, and nothing of
//! sockets, HTTP or a FIDO2 server's protocol.
//!
//! ```text
//!             code right / no code needed      options            answer stored      upstream said
//!   offered ───────────────────────▶ preparing ───────▶ challenged ───────▶ verifying ───────▶ closed
//!      └───────── decline · cancel · deadline · card or upstream failure: from anywhere ─────────▲
//! ```

mod event;
mod fact;
mod history;
mod policy;
mod state;
mod step;
mod stored;
mod success;
#[cfg(test)]
mod tests;

pub use event::{Begun, Effect, Event, Refusal, Reply, Transition, Verdict};
pub use fact::{Fact, FactKind, HISTORY_LIMIT, ProgressEntry};
pub use policy::COMPLETION_LIMIT_MS;
pub use state::{
    Answer, Ceremony, Challenge, Closed, Code, Prompt, ReceiptEvidence, Request, State, TxBinding,
    UpstreamSession, VerifiedAnswer,
};
pub use success::Success;
#[cfg(test)]
pub(crate) use tests::{open, with_every_kind};
