//! What one device socket may cost, each number with its reason.

use fido_relay_proto::device::{FrameError, SocketLimits};
use fido_relay_proto::limits::{FRAME_AFTER_AUTH, FRAME_BEFORE_AUTH, JSON_DEPTH, JSON_KEYS};
use fido_relay_proto::{DeviceFrame, shape};

/// A sustained rate with a burst on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBudget {
    /// Milliseconds that each frame costs: 100 is ten a second, sustained.
    pub every_ms: u64,
    /// Frames at once after a silence; at least 1.
    pub burst: u32,
}

/// The limits of a device socket. Times are milliseconds, sizes bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One frame before the device is known: an `auth` frame and no more.
    pub frame_before_auth: usize,
    /// One frame of a known device: a card's answer with room to spare.
    pub frame_after_auth: usize,
    /// Arrays and objects within one another, in any frame.
    pub json_depth: usize,
    /// Object keys in any frame.
    pub json_keys: usize,
    /// Text frames.
    pub text: FrameBudget,
    /// Pings and pongs. The burst leaves room for the pongs that a sleeping phone's network held
    /// back and the app's own pings.
    pub control: FrameBudget,
    /// As many policy errors within [`Self::policy_window_ms`] close the socket; at least 1.
    pub policy_errors: usize,
    /// The window of [`Self::policy_errors`].
    pub policy_window_ms: u64,
    /// Between two pings, in the middle. Below the half minute after which mobile networks
    /// forget an idle connection.
    pub ping_every_ms: u64,
    /// As much earlier or later a ping may come, so that sockets accepted together do not ping
    /// together.
    pub ping_jitter_ms: u64,
    /// Pings that may stay without any sign of life; when the next one is due the socket ends.
    pub silent_pings: u8,
    /// No proof vouches for a socket longer than this.
    pub auth_lifetime_ms: u64,
    /// As much earlier a proof may be asked for again, so that sockets accepted together do not
    /// sign together.
    pub auth_jitter_ms: u64,
    /// For signing again. Longer than the first time: the socket is known, and a phone that
    /// dozes answers late. It lies within [`Self::auth_lifetime_ms`].
    pub reauth_within_ms: u64,
}

impl Default for Limits {
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

impl Limits {
    /// Reads a frame of a device, on whichever road it came.
    ///
    /// # Errors
    /// [`FrameError`] if it is none, or is nested too deep or has too many keys.
    pub fn decode(&self, text: &str) -> Result<DeviceFrame, FrameError> {
        shape::check(text.as_bytes(), self.json_depth, self.json_keys)
            .map_err(|_| FrameError::Invalid)?;
        DeviceFrame::decode(text)
    }

    /// What the app is told, to keep within.
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

    /// Milliseconds until a proof is asked for again.
    pub(super) fn reauth_in(&self, jitter: Jitter) -> u64 {
        let latest = self.auth_lifetime_ms.saturating_sub(self.reauth_within_ms);
        latest.saturating_sub(jitter.of(self.auth_jitter_ms))
    }
}

/// A random part of one, drawn by the caller afresh for each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter(u16);

impl Jitter {
    /// From 16 random bits.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// This part of `span`, from 0 to just `span`.
    fn of(self, span: u64) -> u64 {
        let scaled = u128::from(span) * u128::from(self.0) / u128::from(u16::MAX);
        u64::try_from(scaled).unwrap_or(span)
    }
}
