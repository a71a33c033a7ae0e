//! The rules of one device socket: total over states and inputs, deadlines first.

use std::sync::Arc;

use fido_relay_proto::device::{Auth, FrameError, FrameErrorCode};
use fido_relay_proto::{ConnectionId, DeviceFrame, RelayFrame};

use super::budget::{PolicyErrors, TokenBucket};
use super::close::CloseReason;
use super::limits::{Jitter, SessionLimits};
use super::nonce::Nonce;

/// The action that follows an input.
#[derive(Debug)]
pub enum Action {
    Nothing,
    /// Verify the proof against the nonce, then call [`Session::on_auth_result`].
    Verify {
        auth: Auth,
        nonce: Nonce,
    },
    /// Handle a frame of an authenticated device; never [`DeviceFrame::Auth`] or
    /// [`DeviceFrame::Ping`].
    Deliver(DeviceFrame),
    Reply(RelayFrame),
    Close(CloseReason),
}

/// The action that follows a timer.
#[derive(Debug)]
pub enum Tick {
    /// Nothing: sleep until [`Session::wakes_at`].
    Nothing,
    Ping,
    Send(RelayFrame),
    Close(CloseReason),
}

/// Why a proof did not authenticate a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// The proof is invalid, or of another device than the socket's.
    Refused,
    /// The device was revoked. At the first proof the peer sees this as [`Self::Refused`].
    Revoked,
    /// The store could not be read.
    Unavailable,
}

/// The authentication state of a socket.
#[derive(Debug)]
enum SessionState {
    /// Waits for the first proof.
    Awaiting {
        nonce: Box<Nonce>,
        until: u64,
    },
    /// The first proof is being verified.
    Checking {
        until: u64,
    },
    /// Authenticated until a new proof is requested.
    Live {
        again_at: u64,
    },
    /// Authenticated; waits for a new proof.
    Renewing {
        nonce: Box<Nonce>,
        until: u64,
    },
    /// Authenticated; the new proof is being verified.
    Rechecking {
        until: u64,
    },
    Ended(CloseReason),
}

/// One device socket. It fits into little more than one cache line, since every idle phone has one.
#[derive(Debug)]
pub struct Session {
    state: SessionState,
    limits: Arc<SessionLimits>,
    text: TokenBucket,
    control: TokenBucket,
    errors: PolicyErrors,
    ping_at: u64,
    /// Pings since the last input.
    silent: u8,
}

impl Session {
    /// A new session and the `hello` to send. `auth_deadline` counts from the TCP accept, so that one
    /// deadline covers TLS and HTTP headers, too.
    #[must_use]
    pub fn accept(
        now: u64,
        auth_deadline: u64,
        nonce: Nonce,
        limits: Arc<SessionLimits>,
    ) -> (Self, RelayFrame) {
        let hello = RelayFrame::Hello {
            nonce: nonce.to_string(),
            auth_within_s: auth_deadline.saturating_sub(now) / 1000,
        };
        let session = Self {
            state: SessionState::Awaiting { nonce: Box::new(nonce), until: auth_deadline },
            limits,
            text: TokenBucket::default(),
            control: TokenBucket::default(),
            errors: PolicyErrors::default(),
            ping_at: u64::MAX,
            silent: 0,
        };
        (session, hello)
    }

    /// Whether the device is authenticated and the socket open.
    #[must_use]
    pub fn is_live(&self) -> bool {
        match self.state {
            SessionState::Live { .. }
            | SessionState::Renewing { .. }
            | SessionState::Rechecking { .. } => true,
            SessionState::Awaiting { .. }
            | SessionState::Checking { .. }
            | SessionState::Ended(_) => false,
        }
    }

    /// Why the socket has ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<CloseReason> {
        match self.state {
            SessionState::Ended(reason) => Some(reason),
            SessionState::Awaiting { .. }
            | SessionState::Checking { .. }
            | SessionState::Live { .. }
            | SessionState::Renewing { .. }
            | SessionState::Rechecking { .. } => None,
        }
    }

    /// When [`Session::on_tick`] must be called next; `u64::MAX`: never.
    #[must_use]
    pub fn wakes_at(&self) -> u64 {
        match self.state {
            SessionState::Awaiting { until, .. } | SessionState::Checking { until } => until,
            SessionState::Live { again_at: due }
            | SessionState::Renewing { until: due, .. }
            | SessionState::Rechecking { until: due } => due.min(self.ping_at),
            SessionState::Ended(_) => u64::MAX,
        }
    }

    /// Handles a complete text message.
    pub fn on_text(&mut self, now: u64, text: &str) -> Action {
        if let Some(reason) = self.over(now) {
            return Action::Close(reason);
        }
        let known = self.is_live();
        let size = if known { self.limits.frame_after_auth } else { self.limits.frame_before_auth };
        if text.len() > size {
            return self.close(CloseReason::TooBig);
        }
        if !known {
            return self.first_frame(now, text);
        }
        self.silent = 0;
        if !self.text.admit(now, self.limits.text) {
            return self.policy_error(now, FrameErrorCode::SlowDown);
        }
        match self.limits.decode(text) {
            Ok(DeviceFrame::Auth(auth)) => self.signed_again(now, auth),
            Ok(DeviceFrame::Ping(probe)) => Action::Reply(RelayFrame::Pong(probe)),
            Ok(
                frame @ (DeviceFrame::Ack(_)
                | DeviceFrame::Claim(_)
                | DeviceFrame::Card(_)
                | DeviceFrame::Answer(_)
                | DeviceFrame::Decline(_)),
            ) => Action::Deliver(frame),
            // The app may be newer than the relay, so this is no policy error.
            Err(FrameError::UnknownType) => Action::Reply(error(FrameErrorCode::UnknownType)),
            Err(FrameError::Invalid) => self.policy_error(now, FrameErrorCode::InvalidFrame),
        }
    }

    /// Handles a binary message.
    pub fn on_binary(&mut self, now: u64) -> Action {
        match self.over(now) {
            Some(reason) => Action::Close(reason),
            None => self.close(CloseReason::Binary),
        }
    }

    /// Handles a ping or pong. It does not extend the deadline of an `auth`.
    pub fn on_control(&mut self, now: u64) -> Action {
        if let Some(reason) = self.over(now) {
            return Action::Close(reason);
        }
        self.silent = 0;
        if self.control.admit(now, self.limits.control) {
            Action::Nothing
        } else if self.is_live() {
            self.policy_error(now, FrameErrorCode::SlowDown)
        } else {
            self.close(CloseReason::Unauthenticated)
        }
    }

    /// Handles the result of an [`Action::Verify`]. The first valid proof is answered with `welcome`,
    /// later ones with nothing.
    pub fn on_auth_result(
        &mut self,
        now: u64,
        result: Result<ConnectionId, AuthFailure>,
        jitter: Jitter,
    ) -> Action {
        if let Some(reason) = self.over(now) {
            return Action::Close(reason);
        }
        let again = match self.state {
            SessionState::Checking { .. } => false,
            SessionState::Rechecking { .. } => true,
            // No verification is in progress: a fault of the caller, harmless here.
            SessionState::Awaiting { .. }
            | SessionState::Live { .. }
            | SessionState::Renewing { .. }
            | SessionState::Ended(_) => return Action::Nothing,
        };
        let connection_id = match (result, again) {
            (Ok(connection_id), _) => connection_id,
            (Err(AuthFailure::Unavailable), _) => return self.close(CloseReason::Overload),
            (Err(AuthFailure::Refused | AuthFailure::Revoked), false) => {
                return self.close(CloseReason::Unauthenticated);
            }
            (Err(AuthFailure::Refused), true) => return self.close(CloseReason::ReauthFailed),
            (Err(AuthFailure::Revoked), true) => return self.close(CloseReason::Revoked),
        };
        let reauth_in = self.limits.reauth_in(jitter);
        self.state = SessionState::Live { again_at: now.saturating_add(reauth_in) };
        if again {
            return Action::Nothing;
        }
        self.ping_at = now.saturating_add(self.limits.ping_in(jitter));
        Action::Reply(RelayFrame::Welcome {
            connection_id,
            heartbeat_s: self.limits.ping_every_ms / 1000,
            reauth_in_s: reauth_in / 1000,
            limits: self.limits.to_wire(),
        })
    }

    /// Handles the passing of time, one action at a time: sleep until [`Session::wakes_at`]
    /// afterwards, which may be now. `fresh` is called only when a nonce is needed.
    pub fn on_tick(&mut self, now: u64, jitter: Jitter, fresh: impl FnOnce() -> Nonce) -> Tick {
        if let Some(reason) = self.over(now) {
            return Tick::Close(reason);
        }
        if !self.is_live() {
            return Tick::Nothing;
        }
        if now >= self.ping_at {
            if self.silent >= self.limits.silent_pings {
                self.state = SessionState::Ended(CloseReason::Silent);
                return Tick::Close(CloseReason::Silent);
            }
            self.silent += 1;
            self.ping_at = now.saturating_add(self.limits.ping_in(jitter));
            return Tick::Ping;
        }
        if let SessionState::Live { again_at } = self.state
            && now >= again_at
        {
            let nonce = fresh();
            let within = self.limits.reauth_within_ms;
            let frame =
                RelayFrame::Reauth { nonce: nonce.to_string(), auth_within_s: within / 1000 };
            let until = now.saturating_add(within);
            self.state = SessionState::Renewing { nonce: Box::new(nonce), until };
            return Tick::Send(frame);
        }
        Tick::Nothing
    }

    /// Requests a new proof at the next tick, for example after a key rotation, unless one is
    /// requested already.
    pub fn renew(&mut self, now: u64) {
        if let SessionState::Live { again_at } = &mut self.state {
            *again_at = now.min(*again_at);
        }
    }

    /// Ends the socket for a reason of the caller (a newer socket, a revocation, a broken
    /// connection). Returns the reason, which is the first one given.
    pub fn end(&mut self, reason: CloseReason) -> CloseReason {
        match self.ended() {
            Some(first) => first,
            None => {
                self.state = SessionState::Ended(reason);
                reason
            }
        }
    }

    /// Why the socket has ended, a missed deadline included: inputs after a deadline are refused even
    /// if the timer is late.
    fn over(&mut self, now: u64) -> Option<CloseReason> {
        let reason = match self.state {
            SessionState::Ended(reason) => return Some(reason),
            SessionState::Awaiting { until, .. } | SessionState::Checking { until }
                if now >= until =>
            {
                CloseReason::AuthTooLate
            }
            SessionState::Renewing { until, .. } | SessionState::Rechecking { until }
                if now >= until =>
            {
                CloseReason::ReauthFailed
            }
            SessionState::Awaiting { .. }
            | SessionState::Checking { .. }
            | SessionState::Live { .. }
            | SessionState::Renewing { .. }
            | SessionState::Rechecking { .. } => return None,
        };
        Some(self.end(reason))
    }

    /// A frame before authentication: one `auth`, and `ping` frames, because an app that wakes during
    /// the handshake must not lose the socket by checking it.
    fn first_frame(&mut self, now: u64, text: &str) -> Action {
        let frame = match self.limits.decode(text) {
            Ok(DeviceFrame::Ping(probe)) if self.text.admit(now, self.limits.text) => {
                return Action::Reply(RelayFrame::Pong(probe));
            }
            other => other,
        };
        let failed = SessionState::Ended(CloseReason::Unauthenticated);
        let before = std::mem::replace(&mut self.state, failed);
        if let (SessionState::Awaiting { nonce, until }, Ok(DeviceFrame::Auth(auth))) =
            (before, frame)
        {
            self.state = SessionState::Checking { until };
            return Action::Verify { auth, nonce: *nonce };
        }
        Action::Close(CloseReason::Unauthenticated)
    }

    /// An `auth` frame of an authenticated device: valid once after each request.
    fn signed_again(&mut self, now: u64, auth: Auth) -> Action {
        let placeholder = SessionState::Ended(CloseReason::Internal);
        match std::mem::replace(&mut self.state, placeholder) {
            SessionState::Renewing { nonce, until } => {
                self.state = SessionState::Rechecking { until };
                Action::Verify { auth, nonce: *nonce }
            }
            unasked @ (SessionState::Awaiting { .. }
            | SessionState::Checking { .. }
            | SessionState::Live { .. }
            | SessionState::Rechecking { .. }
            | SessionState::Ended(_)) => {
                self.state = unasked;
                self.policy_error(now, FrameErrorCode::InvalidFrame)
            }
        }
    }

    /// Replies with an `error` frame, or closes after too many.
    fn policy_error(&mut self, now: u64, code: FrameErrorCode) -> Action {
        let SessionLimits { policy_errors, policy_window_ms, .. } = *self.limits;
        if self.errors.count(now, policy_errors, policy_window_ms) {
            return self.close(CloseReason::PolicyErrors);
        }
        Action::Reply(error(code))
    }

    fn close(&mut self, reason: CloseReason) -> Action {
        Action::Close(self.end(reason))
    }
}

/// An `error` frame without a ceremony.
#[must_use]
pub fn error(code: FrameErrorCode) -> RelayFrame {
    RelayFrame::Error {
        code,
        message: code.message().to_owned(),
        retryable: code.is_retryable(),
        ceremony_id: None,
        claim_id: None,
    }
}
