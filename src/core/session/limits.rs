//! The limits of a device socket, each with its reason.

use fido_relay_proto::device::{FrameError, SocketLimits};
use fido_relay_proto::limits::{FRAME_AFTER_AUTH, FRAME_BEFORE_AUTH, JSON_DEPTH, JSON_KEYS};
use fido_relay_proto::{DeviceFrame, shape};

/// A sustained rate with a burst on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBudget {
    /// Milliseconds per frame: 100 is ten a second, sustained.
    pub every_ms: u64,
    /// Frames at once after a pause; at least 1.
    pub burst: u32,
}

/// The limits of a device socket. Times are milliseconds, sizes bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Largest frame before authentication: an `auth` frame.
    pub frame_before_auth: usize,
    /// Largest frame after authentication: a card's answer with room to spare.
    pub frame_after_auth: usize,
    /// Nesting of arrays and objects in a frame.
    pub json_depth: usize,
    /// Object keys in a frame.
    pub json_keys: usize,
    pub text: FrameBudget,
    /// Pings and pongs. The burst leaves room for the pongs that a sleeping phone's network held
    /// back and the app's own pings.
    pub control: FrameBudget,
    /// Policy errors within [`Self::policy_window_ms`] that close the socket; at least 1.
    pub policy_errors: usize,
    /// The window of [`Self::policy_errors`].
    pub policy_window_ms: u64,
    /// Mean interval of pings. Below the half minute after which mobile networks drop an idle
    /// connection.
    pub ping_every_ms: u64,
    /// Jitter of pings in both directions, so that sockets accepted together do not ping together.
    pub ping_jitter_ms: u64,
    /// Pings without any frame in return; the socket ends when the next one is due.
    pub silent_pings: u8,
    /// Longest time for which one proof authenticates a socket.
    pub auth_lifetime_ms: u64,
    /// Jitter by which a new proof is requested earlier, so that sockets accepted together do not
    /// sign together.
    pub auth_jitter_ms: u64,
    /// Time for a new proof, which lies within [`Self::auth_lifetime_ms`]. Longer than for the first:
    /// a dozing phone answers late.
    pub reauth_within_ms: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            frame_before_auth: FRAME_BEFORE_AUTH,
            frame_after_auth: FRAME_AFTER_AUTH,
            json_depth: JSON_DEPTH,
            json_keys: JSON_KEYS,
            text: FrameBudget { every_ms: 100, burst: 30 },
            control: FrameBudget { every_ms: 500, burst: 4 },
            policy_errors: 5,
            policy_window_ms: 60_000,
            ping_every_ms: 25_000,
            ping_jitter_ms: 5_000,
            silent_pings: 2,
            auth_lifetime_ms: 60 * 60_000,
            auth_jitter_ms: 5 * 60_000,
            reauth_within_ms: 60_000,
        }
    }
}

impl SessionLimits {
    /// Decodes a device's frame, from a socket or by pull.
    ///
    /// # Errors
    /// [`FrameError`] if it is invalid, nested too deep or has too many keys.
    pub fn decode(&self, text: &str) -> Result<DeviceFrame, FrameError> {
        shape::check(text.as_bytes(), self.json_depth, self.json_keys)
            .map_err(|_| FrameError::Invalid)?;
        DeviceFrame::decode(text)
    }

    /// The limits in `welcome`.
    #[must_use]
    pub fn to_wire(&self) -> SocketLimits {
        SocketLimits {
            frame_bytes: u32::try_from(self.frame_after_auth).unwrap_or(u32::MAX),
            frames_per_s: u32::try_from(1000 / self.text.every_ms.max(1)).unwrap_or(u32::MAX),
            burst: self.text.burst,
        }
    }

    /// Milliseconds until the next ping.
    pub(super) fn ping_in(&self, jitter: Jitter) -> u64 {
        let earliest = self.ping_every_ms.saturating_sub(self.ping_jitter_ms);
        earliest.saturating_add(jitter.of(self.ping_jitter_ms.saturating_mul(2)))
    }

    /// Milliseconds until a new proof is requested.
    pub(super) fn reauth_in(&self, jitter: Jitter) -> u64 {
        let latest = self.auth_lifetime_ms.saturating_sub(self.reauth_within_ms);
        latest.saturating_sub(jitter.of(self.auth_jitter_ms))
    }
}

/// A random fraction from 0 to 1, drawn by the caller for each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter(u16);

impl Jitter {
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// This fraction of `span`.
    fn of(self, span: u64) -> u64 {
        let scaled = u128::from(span) * u128::from(self.0) / u128::from(u16::MAX);
        u64::try_from(scaled).unwrap_or(span)
    }
}
