//! What watchers of a ceremony are told, the same on every road: server-sent events carry it as
//! `data`, the watchers' socket as text frames.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::http::Status;
use crate::life::{Phase, Reason, Step};

/// One step of a ceremony. It depends on the step alone and not on when or by which road it is
/// told: whoever resumes after `seq` is told what it would have been told before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WatchEvent {
    /// Its number, counted from 1; the `id` of a server-sent event.
    pub seq: u32,
    /// What happened.
    pub step: Step,
    /// When, by the relay's clock (RFC 3339, UTC, milliseconds).
    pub at: String,
    /// `pending` until the step `closed`, which has the outcome.
    pub status: Status,
    /// Where the ceremony stood after this step.
    pub phase: Phase,
    /// With the step `closed`: what the outcome alone does not say. A ticket's holder is not told
    /// what is about the card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// The answer to `POST /v1/ceremonies/{id}/events/ticket`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventTicket {
    /// For `?ticket=` of one request for the ceremony's events.
    pub ticket: String,
    /// Seconds left to make that request.
    pub expires_in: u64,
}

impl fmt::Debug for EventTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventTicket").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}
