//! The mobile app, simulated: pairs, holds the device socket or sleeps until it is woken, asks a
//! person for the code, uses a card, and keeps its answer until the relay has it.
//!
//! It stands on the other side of the wire and must know nothing of the relay's inside: what it
//! does, an app written from the protocol's text alone could do.
//!
//! ```text
//!   Person ──decision──▶ ┌──────────────────┐ ──frames──▶ ┌──────────────┐
//!   Card ────answer────▶ │ App: pure, keeps │             │ wire::Socket │ ◀──▶ relay
//!   events ◀───────────  │ what to re-send  │ ◀──frames── │ or pull: HTTP│
//!                        └──────────────────┘             └──────────────┘
//!                          hands: person, card     holder: connect, authenticate, reconnect
//!                                                  sleeper: sleep, be woken, pull, sleep
//! ```
//!
//! A test script gives a [`Person`] and [`Faults`], calls [`Phone::connect`] and waits for
//! [`PhoneEvent`]s; a test of the wire itself uses [`wire::Socket`].

mod app;
mod card;
mod event;
mod faults;
mod handle;
mod hands;
mod holder;
mod isolated;
mod key;
mod pairing;
mod person;
mod pull;
mod receiver;
mod reconnect;
mod roots;
mod rotation;
mod saved;
mod sleeper;
pub mod wire;

#[cfg(test)]
mod tests;

pub use card::{Card, KeptCard};
pub use event::{PhoneEvent, Stopped};
pub use faults::{DropAt, Faults, SecondAnswer};
pub use handle::PhoneHandle;
pub use holder::Phone;
pub use isolated::isolated;
pub use key::{DeviceKey, KeyError};
pub use pairing::{Paired, PairingClient, PairingError, PairingLink, pair};
pub use person::{Ask, Codes, Decision, Person, Waits};
pub use pull::{PullClient, PullError, PullOrder};
pub use receiver::{Receiver, Subscription};
pub use reconnect::Pace;
pub use roots::Roots;
pub use rotation::{key_url, rotate_key};
pub use saved::{PhoneState, StateError};
pub use sleeper::Bed;
