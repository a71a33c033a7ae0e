//! The simulated mobile app: pairs, holds the device socket or sleeps until it is woken, asks a person
//! for the code, uses a card, and keeps its answer until the relay has it.
//!
//! It must know nothing of the relay but the protocol: an app written from docs/protocol.md alone
//! could do the same.
//!
//! ```text
//!   Person ──decision──▶ ┌──────────────────┐ ──frames──▶ ┌──────────────┐
//!   Card ────answer────▶ │ App: pure, keeps │             │ wire::Socket │ ◀──▶ relay
//!   events ◀───────────  │ what to re-send  │ ◀──frames── │ or pull: HTTP│
//!                        └──────────────────┘             └──────────────┘
//!                      runtime: person, card, timers   socket_task: connect, authenticate, reconnect
//!                                                      sleep_task: sleep, wake, pull, sleep
//! ```
//!
//! A test script gives a [`Person`] and [`Faults`], calls [`Phone::connect`] and waits for
//! [`PhoneEvent`]s; a test of the wire itself uses [`wire::Socket`].

mod app;
mod card;
mod event;
mod faults;
mod handle;
mod isolated;
mod key;
mod pairing;
mod person;
mod pull;
mod receiver;
mod reconnect;
mod roots;
mod rotation;
mod runtime;
mod saved;
mod sleep_task;
mod socket_task;
pub mod wire;

#[cfg(test)]
mod tests;

pub use card::{Card, StoredCard};
pub use event::{PhoneEvent, StopReason};
pub use faults::{DropAt, Faults, SecondAnswer};
pub use handle::PhoneHandle;
pub use isolated::isolated;
pub use key::{DeviceKey, KeyError};
pub use pairing::{Paired, PairingClient, PairingError, PairingLink, pair};
pub use person::{Codes, Decision, Person, PromptRequest, Waits};
pub use pull::{PullClient, PullError, PullRequest};
pub use receiver::{PushReceiver, PushSubscription};
pub use reconnect::Backoff;
pub use roots::Roots;
pub use rotation::{key_url, rotate_key};
pub use saved::{PhoneState, StateError};
pub use sleep_task::WakeChannel;
pub use socket_task::Phone;
