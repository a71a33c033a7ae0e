//! The events of a ceremony's watchers: server-sent events have them as `data`, the watchers' socket
//! as text frames.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::http::Status;
use crate::life::{Phase, Reason, Step};

/// One step of a ceremony. Its content does not depend on when or how it is delivered, so that a
/// watcher which resumes after `seq` gets the same events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WatchEvent {
    /// The number of this kind of step, the same in every ceremony; the `id` of a server-sent
    /// event. It may be lower than that of the previous event.
    pub seq: u32,
    /// What happened. With binding `code`, `sent` and `delivered` are for initiators with the scope
    /// `presence:read`, and for pages of a ceremony that was opened with `show_delivery`.
    pub step: Step,
    /// When, by the relay's clock (RFC 3339, UTC, milliseconds).
    #[cfg_attr(feature = "schema", schemars(extend("format" = "date-time")))]
    pub at: String,
    /// `pending` until the step `closed`, which has the outcome.
    pub status: Status,
    /// The phase after this step.
    pub phase: Phase,
    /// With the step `closed`: the reason, where the outcome has one. Hidden from tickets if it is
    /// about the card or why the person declined.
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

/// Why the relay ends a watchers' socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEnd {
    /// The outcome was delivered.
    Closed,
    /// Several pings had no answer, or a write did not complete in time.
    Silent,
    /// A WebSocket frame was invalid.
    Protocol,
    /// The reason in the watcher's Close was not UTF-8.
    NotUtf8,
    /// The watcher sent a message; watchers only listen.
    WatcherFrame,
    /// The relay restarts; reconnect.
    Restart,
    /// The store does not answer; reconnect.
    Unavailable,
    /// The ticket or key is no longer valid.
    Unauthorized,
}

impl WatchEnd {
    /// All values.
    pub const ALL: [Self; 8] = [
        Self::Closed,
        Self::Silent,
        Self::Protocol,
        Self::NotUtf8,
        Self::WatcherFrame,
        Self::Restart,
        Self::Unavailable,
        Self::Unauthorized,
    ];

    /// The WebSocket close code (RFC 6455 section 7.4).
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Closed => 1000,
            Self::Silent => 1001,
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::WatcherFrame => 1008,
            Self::Restart => 1012,
            Self::Unavailable => 1013,
            Self::Unauthorized => 4401,
        }
    }

    /// The close frame's text; it never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::Protocol => "protocol",
            Self::NotUtf8 => "not_utf8",
            Self::WatcherFrame => "watchers_only_listen",
            Self::Restart => "restart",
            Self::Unavailable => "unavailable",
            Self::Unauthorized => "unauthorized",
        }
    }

    /// What it means, and what the watcher should do, for the documents of the interface.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Closed => "the outcome was delivered: done",
            Self::Silent => "several pings had no answer: reconnect",
            Self::Protocol => "a frame that is not the WebSocket protocol's",
            Self::NotUtf8 => "the reason in the watcher's close frame is not UTF-8",
            Self::WatcherFrame => "a watcher only listens",
            Self::Restart => "the relay restarts: reconnect",
            Self::Unavailable => "the relay cannot read the ceremony now: reconnect",
            Self::Unauthorized => "the ticket or key is no longer valid: stop",
        }
    }
}

/// Name of the server-sent event of a step. The last one has its own name to listen for.
#[must_use]
pub const fn event_name(step: Step) -> &'static str {
    match step {
        Step::Closed => "closed",
        Step::Opened
        | Step::Sent
        | Step::Woken
        | Step::Delivered
        | Step::Claimed
        | Step::Challenged
        | Step::Card
        | Step::Verifying => "progress",
    }
}
