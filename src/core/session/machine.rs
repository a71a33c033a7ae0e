//! The rules of one device socket: total over states and inputs, deadlines first.

use std::sync::Arc;

use fido_relay_proto::device::{Auth, FrameError, FrameErrorCode};
use fido_relay_proto::{ConnectionId, DeviceFrame, RelayFrame};

use super::budget::{PolicyErrors, TokenBucket};
use super::close::CloseReason;
use super::limits::{Jitter, Limits};
use super::nonce::Nonce;

/// What to do about something that came in.
#[derive(Debug)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Hold this proof against this nonce, then call [`Session::on_auth_result`].
    Verify {
        /// What the device sent.
        auth: Auth,
        /// What it must have signed.
        nonce: Nonce,
    },
    /// A frame of a known device, within its budget; never [`DeviceFrame::Auth`] or
    /// [`DeviceFrame::Ping`].
    Deliver(DeviceFrame),
    /// Send this.
    Reply(RelayFrame),
    /// End the socket.
    Close(CloseReason),
}

/// What to do because time has passed.
#[derive(Debug)]
pub enum Tick {
    /// Nothing: sleep until [`Session::wakes_at`].
    Nothing,
    /// Send a ping.
    Ping,
    /// Send this.
    Send(RelayFrame),
    /// End the socket.
    Close(CloseReason),
}

/// Why a proof did not make a device known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// The proof is not good, or not of the device that this socket belongs to.
    Refused,
    /// The device was revoked. Before the device is known this shows as any other refusal.
    Revoked,
    /// It could not be found out.
    Unavailable,
}

/// Who is on the other side, as far as is known.
#[derive(Debug)]
enum SessionState {
    /// Nobody yet; must sign this.
    Awaiting { nonce: Box<Nonce>, until: u64 },
    /// Nobody yet; the proof is being checked.
    Checking { until: u64 },
    /// The device; must sign again at this time.
    Live { again_at: u64 },
    /// The device; was asked to sign this.
    Renewing { nonce: Box<Nonce>, until: u64 },
    /// The device; the new proof is being checked.
    Rechecking { until: u64 },
    /// Over.
    Ended(CloseReason),
}

/// One device socket, in one cache line or little more: there is one of these for every idle
/// phone.
#[derive(Debug)]
pub struct Session {
    standing: SessionState,
    limits: Arc<Limits>,
    text: TokenBucket,
    control: TokenBucket,
    errors: PolicyErrors,
    ping_at: u64,
    /// Pings since the last sign of life.
    silent: u8,
}

impl Session {
    /// A socket that was accepted, and the `hello` to send. `auth_deadline` is the caller's: it
    /// counts from the TCP accept, so that TLS and headers are covered by the same allowance.
    #[must_use]
    pub fn accept(
        now: u64,
        auth_deadline: u64,
        nonce: Nonce,
        limits: Arc<Limits>,
    ) -> (Self, RelayFrame) {
        let hello = RelayFrame::Hello {
            nonce: nonce.to_string(),
            auth_within_s: auth_deadline.saturating_sub(now) / 1000,
        };
        let session = Self {
            standing: SessionState::Awaiting { nonce: Box::new(nonce), until: auth_deadline },
            limits,
            text: TokenBucket::default(),
            control: TokenBucket::default(),
            errors: PolicyErrors::default(),
            ping_at: u64::MAX,
            silent: 0,
        };
        (session, hello)
    }

    /// Whether the device is known and the socket not at its end.
    #[must_use]
    pub fn is_live(&self) -> bool {
        match self.standing {
            SessionState::Live { .. }
            | SessionState::Renewing { .. }
            | SessionState::Rechecking { .. } => true,
            SessionState::Awaiting { .. }
            | SessionState::Checking { .. }
            | SessionState::Ended(_) => false,
        }
    }

    /// Why the socket ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<CloseReason> {
        match self.standing {
            SessionState::Ended(reason) => Some(reason),
            SessionState::Awaiting { .. }
            | SessionState::Checking { .. }
            | SessionState::Live { .. }
            | SessionState::Renewing { .. }
            | SessionState::Rechecking { .. } => None,
        }
    }

    /// When [`Session::on_tick`] has something to do next; the end of time if never.
    #[must_use]
    pub fn wakes_at(&self) -> u64 {
        match self.standing {
            SessionState::Awaiting { until, .. } | SessionState::Checking { until } => until,
            SessionState::Live { again_at: due }
            | SessionState::Renewing { until: due, .. }
            | SessionState::Rechecking { until: due } => due.min(self.ping_at),
            SessionState::Ended(_) => u64::MAX,
        }
    }

    /// A text message came in, whole.
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
            // An app may be newer than the relay: it is told, and no more.
            Err(FrameError::UnknownType) => Action::Reply(error(FrameErrorCode::UnknownType)),
            Err(FrameError::Invalid) => self.policy_error(now, FrameErrorCode::InvalidFrame),
        }
    }

    /// A binary message came in.
    pub fn on_binary(&mut self, now: u64) -> Action {
        match self.over(now) {
            Some(reason) => Action::Close(reason),
            None => self.close(CloseReason::Binary),
        }
    }

    /// A ping or pong came in. It does not put off the deadline of an `auth`.
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

    /// What came of an [`Action::Verify`]. The first good proof is answered with `welcome`, later
    /// ones with nothing.
    pub fn on_auth_result(
        &mut self,
        now: u64,
        result: Result<ConnectionId, AuthFailure>,
        jitter: Jitter,
    ) -> Action {
        if let Some(reason) = self.over(now) {
            return Action::Close(reason);
        }
        let again = match self.standing {
            SessionState::Checking { .. } => false,
            SessionState::Rechecking { .. } => true,
            // A result that nobody waits for: a fault of the caller, harmless here.
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
        self.standing = SessionState::Live { again_at: now.saturating_add(reauth_in) };
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

    /// Time has passed. Does one thing at a time: sleep until [`Session::wakes_at`] afterwards,
    /// which may be now. `fresh` is called only when a nonce is needed.
    pub fn on_tick(&mut self, now: u64, jitter: Jitter, fresh: impl FnOnce() -> Nonce) -> Tick {
        if let Some(reason) = self.over(now) {
            return Tick::Close(reason);
        }
        if !self.is_live() {
            return Tick::Nothing;
        }
        if now >= self.ping_at {
            if self.silent >= self.limits.silent_pings {
                self.standing = SessionState::Ended(CloseReason::Silent);
                return Tick::Close(CloseReason::Silent);
            }
            self.silent += 1;
            self.ping_at = now.saturating_add(self.limits.ping_in(jitter));
            return Tick::Ping;
        }
        if let SessionState::Live { again_at } = self.standing
            && now >= again_at
        {
            let nonce = fresh();
            let within = self.limits.reauth_within_ms;
            let frame =
                RelayFrame::Reauth { nonce: nonce.to_string(), auth_within_s: within / 1000 };
            let until = now.saturating_add(within);
            self.standing = SessionState::Renewing { nonce: Box::new(nonce), until };
            return Tick::Send(frame);
        }
        Tick::Nothing
    }

    /// The device has to sign again now, such as with another key: the next tick asks it to. One
    /// that is asked already is not asked twice.
    pub fn renew(&mut self, now: u64) {
        if let SessionState::Live { again_at } = &mut self.standing {
            *again_at = now.min(*again_at);
        }
    }

    /// Ends the socket for a reason of the caller's (a newer socket, a revocation, a broken
    /// connection). The first reason stays.
    pub fn end(&mut self, reason: CloseReason) -> CloseReason {
        match self.ended() {
            Some(first) => first,
            None => {
                self.standing = SessionState::Ended(reason);
                reason
            }
        }
    }

    /// The end, if it has come, a missed deadline included: nothing counts after it, even if the
    /// timer is late.
    fn over(&mut self, now: u64) -> Option<CloseReason> {
        let reason = match self.standing {
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

    /// A frame before the device is known: one `auth`, and nothing after it but a `ping`. An app
    /// that wakes while it authenticates must not lose the socket for asking whether it lives.
    fn first_frame(&mut self, now: u64, text: &str) -> Action {
        let frame = match self.limits.decode(text) {
            Ok(DeviceFrame::Ping(probe)) if self.text.admit(now, self.limits.text) => {
                return Action::Reply(RelayFrame::Pong(probe));
            }
            other => other,
        };
        let failed = SessionState::Ended(CloseReason::Unauthenticated);
        let standing = std::mem::replace(&mut self.standing, failed);
        if let (SessionState::Awaiting { nonce, until }, Ok(DeviceFrame::Auth(auth))) =
            (standing, frame)
        {
            self.standing = SessionState::Checking { until };
            return Action::Verify { auth, nonce: *nonce };
        }
        Action::Close(CloseReason::Unauthenticated)
    }

    /// An `auth` frame of a known device: welcome once, after it was asked for.
    fn signed_again(&mut self, now: u64, auth: Auth) -> Action {
        let nobody = SessionState::Ended(CloseReason::Internal);
        match std::mem::replace(&mut self.standing, nobody) {
            SessionState::Renewing { nonce, until } => {
                self.standing = SessionState::Rechecking { until };
                Action::Verify { auth, nonce: *nonce }
            }
            unasked @ (SessionState::Awaiting { .. }
            | SessionState::Checking { .. }
            | SessionState::Live { .. }
            | SessionState::Rechecking { .. }
            | SessionState::Ended(_)) => {
                self.standing = unasked;
                self.policy_error(now, FrameErrorCode::InvalidFrame)
            }
        }
    }

    /// Tells the app in band, unless it was told too often.
    fn policy_error(&mut self, now: u64, code: FrameErrorCode) -> Action {
        let Limits { policy_errors, policy_window_ms, .. } = *self.limits;
        if self.errors.count(now, policy_errors, policy_window_ms) {
            return self.close(CloseReason::PolicyErrors);
        }
        Action::Reply(error(code))
    }

    fn close(&mut self, reason: CloseReason) -> Action {
        Action::Close(self.end(reason))
    }
}

/// An `error` about no ceremony, in words of the relay's own.
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
