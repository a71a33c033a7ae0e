//! The ways in which a device socket ends, each with its name and close code.

/// Why a socket ends. Logs and counters have the name, the peer gets the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// 1001: nothing came back to several pings.
    Silent,
    /// 1001: the peer did not take a write in time.
    WriteStalled,
    /// 1002: unmasked frame, bad opcode, reserved bits or bad fragmentation.
    Protocol,
    /// 1003: a binary frame.
    Binary,
    /// 1007: a text that is not UTF-8.
    NotUtf8,
    /// 1008: too many policy errors within a minute.
    PolicyErrors,
    /// 1009: a frame, or a message of many, over the limit.
    TooBig,
    /// 1009: a message in too many fragments, or too slow in coming.
    Fragments,
    /// 1011: a fault of the relay.
    Internal,
    /// 1012: the relay restarts; reconnect.
    Restart,
    /// 1013: the relay cannot take the socket now.
    Overload,
    /// 1013: more was waiting to be sent than the outbox holds.
    OutboxFull,
    /// 4401: any failure before the device is authenticated.
    Unauthenticated,
    /// 4401: a known device did not sign again in time, or not well.
    ReauthFailed,
    /// 4403: the device was revoked; stop.
    Revoked,
    /// 4408: no `auth` in time.
    AuthTooLate,
    /// 4409: the device has a newer socket; do not reconnect.
    Replaced,
    /// 4426: the app is too old for this relay.
    AppTooOld,
    /// 4429: too many sockets or handshakes from there; slow down.
    TooManySockets,
    /// No code: the peer sent a Close frame.
    PeerClosed,
    /// No code: the connection broke.
    ConnectionLost,
}

impl CloseReason {
    /// Every reason, for counters that start at zero.
    pub const ALL: [Self; 21] = [
        Self::Silent,
        Self::WriteStalled,
        Self::Protocol,
        Self::Binary,
        Self::NotUtf8,
        Self::PolicyErrors,
        Self::TooBig,
        Self::Fragments,
        Self::Internal,
        Self::Restart,
        Self::Overload,
        Self::OutboxFull,
        Self::Unauthenticated,
        Self::ReauthFailed,
        Self::Revoked,
        Self::AuthTooLate,
        Self::Replaced,
        Self::AppTooOld,
        Self::TooManySockets,
        Self::PeerClosed,
        Self::ConnectionLost,
    ];

    /// The WebSocket close code (RFC 6455 section 7.4); none where the peer is gone.
    #[must_use]
    pub const fn code(self) -> Option<u16> {
        Some(match self {
            Self::Silent | Self::WriteStalled => 1001,
            Self::Protocol => 1002,
            Self::Binary => 1003,
            Self::NotUtf8 => 1007,
            Self::PolicyErrors => 1008,
            Self::TooBig | Self::Fragments => 1009,
            Self::Internal => 1011,
            Self::Restart => 1012,
            Self::Overload | Self::OutboxFull => 1013,
            Self::Unauthenticated | Self::ReauthFailed => 4401,
            Self::Revoked => 4403,
            Self::AuthTooLate => 4408,
            Self::Replaced => 4409,
            Self::AppTooOld => 4426,
            Self::TooManySockets => 4429,
            Self::PeerClosed | Self::ConnectionLost => return None,
        })
    }

    /// The name for logs and counters; it never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::WriteStalled => "write_stalled",
            Self::Protocol => "protocol",
            Self::Binary => "binary",
            Self::NotUtf8 => "not_utf8",
            Self::PolicyErrors => "policy_errors",
            Self::TooBig => "too_big",
            Self::Fragments => "fragments",
            Self::Internal => "internal",
            Self::Restart => "restart",
            Self::Overload => "overload",
            Self::OutboxFull => "outbox_full",
            Self::Unauthenticated => "unauthenticated",
            Self::ReauthFailed => "reauth_failed",
            Self::Revoked => "revoked",
            Self::AuthTooLate => "auth_too_late",
            Self::Replaced => "replaced",
            Self::AppTooOld => "app_too_old",
            Self::TooManySockets => "too_many_sockets",
            Self::PeerClosed => "peer_closed",
            Self::ConnectionLost => "connection_lost",
        }
    }

    /// What it means, and what the app should do, for the documents of the interface.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Silent => "nothing came back to several pings: reconnect",
            Self::WriteStalled => "a write was not taken in time: reconnect",
            Self::Protocol => "a frame that is not the WebSocket protocol's",
            Self::Binary => "a binary frame",
            Self::NotUtf8 => "a text that is not UTF-8",
            Self::PolicyErrors => "too many refused frames within a minute",
            Self::TooBig => "a frame or a message over the limit",
            Self::Fragments => "a message in too many fragments, or too slow in coming",
            Self::Internal => "a fault of the relay: reconnect",
            Self::Restart => "the relay restarts: reconnect",
            Self::Overload => "the relay cannot take the socket now: reconnect later",
            Self::OutboxFull => "more was waiting to be sent than the relay holds: reconnect",
            Self::Unauthenticated => "the device was not authenticated; it is not said why",
            Self::ReauthFailed => {
                "the device did not sign again in time, or not well: authenticate again"
            }
            Self::Revoked => "the device was revoked: stop",
            Self::AuthTooLate => "no auth in time: reconnect",
            Self::Replaced => "the device has a newer socket: do not reconnect",
            Self::AppTooOld => {
                "the app is too old for this relay: stop until it is updated (not sent by this version)"
            }
            Self::TooManySockets => "too many sockets or handshakes: reconnect later",
            Self::PeerClosed => "the peer said goodbye",
            Self::ConnectionLost => "the connection broke",
        }
    }
}
